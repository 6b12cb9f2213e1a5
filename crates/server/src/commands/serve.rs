//! `bunho serve`: check, build, bind, say where, serve, drain.

use super::reconcile;
use crate::app::{App, Parts, Record};
use crate::auth::accounts::Accounts;
use crate::auth::keys::Keys;
use crate::auth::sessions::Sessions;
use crate::auth::users::UserTokens;
use crate::cli::Place;
use crate::config::{Config, Shape, Users};
use crate::demo::Demo;
use crate::exit::{Failure, chain};
use crate::node::{self, Node};
use crate::pass::Passes;
use crate::{demo, listen, router, secrets};
use bunho_engine::{Engine, EngineError};
use bunho_journal::crash_point;
use bunho_ledger::LedgerError;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Runs the server until SIGTERM, SIGINT, or the journal's end.
///
/// # Errors
/// [`Failure`] with the exit code of what is refused or broke.
pub fn run(place: &Place, listen: Option<String>, with_demo: bool) -> Result<ExitCode, Failure> {
    let config = super::settings(place, listen)?.check()?;
    log(&config)?;
    raise_open_files(&config);
    super::block_on(serve(config, with_demo))
}

async fn serve(config: Config, with_demo: bool) -> Result<ExitCode, Failure> {
    node::prepare(&config.data)?;
    // Everything that can be refused is, before a port is bound.
    if matches!(config.shape, Shape::Embedded) {
        Passes::check_present(&config.data, &config.secrets)?;
    }
    let passes = Passes::load(&config.secrets, &config.pass_issuer)?;
    let user_tokens = match &config.users {
        Users::Jwt(settings) => Some(UserTokens::load(settings)?),
        Users::Header { .. } => None,
    };
    let node = Node::open(&config).await?;
    let served = serve_node(&config, &node, passes, user_tokens, with_demo).await;
    node.close().await;
    served
}

async fn serve_node(
    config: &Config,
    node: &Node,
    passes: Passes,
    user_tokens: Option<UserTokens>,
    with_demo: bool,
) -> Result<ExitCode, Failure> {
    let engine = node.engine();
    let given = std::env::var("BUNHO_ADMIN_KEY").ok().filter(|key| !key.is_empty());
    let new_admin_key = secrets::ensure_admin_key(node.ledger(), &config.data, given, super::key::now()).await?;
    crash_point!("serve::keys_ensured");
    if with_demo {
        demo::add(&engine).await?;
    }
    let (stop, stopped) = watch::channel(false);
    let app = App::new(Parts {
        sessions: Sessions::load(&secrets::ticket_secret(&config.secrets)?, node.ledger()).await?,
        accounts: Accounts::load(node.ledger()).await?,
        node: node.name(),
        findings: node.findings(),
        keys: Keys::load(node.ledger()).await?,
        reconcile: reconciler(engine.clone(), node.ledger().clone()),
        engine,
        record: node.record(),
        ledger: node.ledger().clone(),
        config: Arc::new(config.clone()),
        passes,
        user_tokens,
        shutdown: stopped.clone(),
    });
    if let Record::Kafka { .. } = node.record() {
        tokio::spawn(follow_keys(app.clone(), stopped.clone()));
    }
    let shop = with_demo.then(|| Demo::open(app.clone())).transpose().map_err(Failure::internal)?;
    let signals = Signals::listen()?;
    let public = bind(config.listen).await?;
    let admin = match config.admin_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    crash_point!("serve::bound");
    println!("bunho {} · {} shape · ack {}", env!("CARGO_PKG_VERSION"), config.shape, config.ack);
    println!("{}", whereabouts(config));
    if let Some(key) = new_admin_key {
        println!("admin key {key} (shown once; kept in {})", secrets::admin_key_path(&config.data).display());
    }
    if let Some((_, address)) = &admin {
        println!("administration on http://{address}");
    }
    println!("serving http://{}", public.1);
    let mut servers =
        vec![tokio::spawn(listen::serve(public.0, router::public(app.clone(), shop.clone()), config.limits.clone(), stopped.clone()))];
    if let Some((listener, _)) = admin {
        servers.push(tokio::spawn(listen::serve(listener, router::admin(app.clone()), config.limits.clone(), stopped)));
    }
    let why = signals.until_end(node).await;
    crash_point!("serve::told_to_end");
    let _ = stop.send(true);
    for server in servers {
        let _ = server.await;
    }
    if let Some(shop) = shop {
        shop.close().await;
    }
    crash_point!("serve::drained");
    match why {
        End::Asked => {
            println!("stopped: requests answered, everything that was answered is durable");
            Ok(ExitCode::SUCCESS)
        }
        End::Poisoned => Err(Failure::internal(
            "the journal could not be synced; nothing of what failed will be seen again\n  mend: look at the disk (the log says what it answered), then start again",
        )),
    }
}

/// Where data lie, in a line.
fn whereabouts(config: &Config) -> String {
    let data = config.data.display();
    match &config.shape {
        Shape::Embedded if config.ledger.file().is_some() => format!("data in {data}"),
        Shape::Embedded => format!("data in {data}, ledger in {}", config.ledger),
        Shape::Cluster(cluster) => format!(
            "state in Redis Cluster {} as {}:*, journal in Kafka {} topic {}, ledger in {}, keys in {}",
            cluster.redis_nodes.iter().map(|node| without_password(node)).collect::<Vec<_>>().join(" "),
            cluster.redis_prefix,
            cluster.kafka.brokers,
            cluster.kafka.topic,
            config.ledger,
            config.secrets.display()
        ),
    }
}

/// `redis://user:password@host` without what stands before the host.
fn without_password(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

/// What other nodes (and `bunho key`) do to keys, sessions and waiting pages is noticed here within this long, and not much more.
const FOLLOWED_EVERY: Duration = Duration::from_secs(1);

/// Follows the keys of services and administrators, accounts, sessions, and the keys that sign passes: see `Passes::look_again`.
async fn follow_keys(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(FOLLOWED_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut follows = true;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let followed = follow(&app).await;
        match &followed {
            Ok(()) if !follows => tracing::info!("keys, sessions and pages are followed again"),
            Err(error) if follows => {
                tracing::error!(
                    error = chain(error),
                    "what other nodes do to keys, sessions and pages is not seen here until the ledger answers"
                );
            }
            _ => {}
        }
        follows = followed.is_ok();
        let app = app.clone();
        // A panic was logged where it happened; the next look is another one.
        let _ = tokio::task::spawn_blocking(move || app.passes.look_again()).await;
    }
}

/// A node that has said nothing for so long is no longer shown.
const NODE_FORGOTTEN_MS: i64 = 24 * 3_600 * 1_000;

async fn follow(app: &App) -> Result<(), LedgerError> {
    app.keys.reload(&app.ledger).await?;
    app.accounts.reload(&app.ledger).await?;
    app.sessions.reload(&app.ledger).await?;
    app.pages.follow(&app.ledger).await?;
    let node = app.node_row();
    let forget = node.seen_at.plus_ms(-NODE_FORGOTTEN_MS);
    app.ledger.note_node(&node, forget).await
}

enum End {
    Asked,
    Poisoned,
}

/// SIGTERM and SIGINT, heard from the moment this is made: whoever was told that the server serves may ask it to end at once,
/// and an end by the system's own answer to a signal drains nothing.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::internal);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn until_end(mut self, node: &Node) -> End {
        tokio::select! {
            _ = self.terminate.recv() => End::Asked,
            _ = self.interrupt.recv() => End::Asked,
            () = node.until_broken() => End::Poisoned,
        }
    }
}

fn reconciler(engine: Engine, ledger: bunho_ledger::Ledger) -> Box<dyn Fn(bool) -> crate::app::Reconciled + Send + Sync> {
    Box::new(move |repair| {
        let (engine, ledger) = (engine.clone(), ledger.clone());
        Box::pin(async move {
            caught_up(&engine).await.map_err(|error| error.to_string())?;
            reconcile::compare(&engine, &ledger, reconcile::wanted(repair)).await.map_err(|error| error.to_string())
        })
    })
}

/// Whoever compares can wait longer than whoever claims: a cluster's partitions may be changing hands.
async fn caught_up(engine: &Engine) -> Result<(), EngineError> {
    for _ in 1..CATCH_UP_TRIES {
        match engine.ledger_caught_up().await {
            Err(EngineError::LedgerBehind) => {}
            done => return done,
        }
    }
    engine.ledger_caught_up().await
}

/// Of some five seconds each.
const CATCH_UP_TRIES: u32 = 6;

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = listen::bind(address).and_then(|listener| listener.local_addr().map(|local| (listener, local)));
    bound.map_err(|error| {
        Failure::unavailable(format_args!(
            "{address} cannot be bound: {error}\n  mend: stop what listens there, or choose another with --listen"
        ))
    })
}

fn log(config: &Config) -> Result<(), Failure> {
    // The store's own news matter to its developers; whoever names them in the level hears them.
    let level = format!("fjall=warn,lsm_tree=warn,{}", config.log_level);
    let filter = tracing_subscriber::EnvFilter::try_new(level).map_err(|error| {
        Failure::configuration(format_args!("setting `log.level` refused: {error}\n  mend: use error, warn, info, debug or target=level,…"))
    })?;
    // Standard output is for the lines that scripts wait for.
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let set = if config.log_json { builder.json().try_init() } else { builder.try_init() };
    set.map_err(Failure::internal)
}

/// Every connection is an open file; most systems allow far fewer by default than they can.
fn raise_open_files(config: &Config) {
    let wanted = config.limits.connections_max as u64 + 1_024;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(granted) if granted < wanted => {
            tracing::warn!(granted, wanted, "fewer open files than server.connections_max needs; raise `ulimit -Hn`")
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}
