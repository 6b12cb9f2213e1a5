//! `bunho serve`: check, build, bind, say where, serve, drain.

use super::reconcile;
use crate::app::{App, Parts, Record};
use crate::auth::accounts::Accounts;
use crate::auth::keys::Keys;
use crate::auth::sessions::Sessions;
use crate::auth::users::UserTokens;
use crate::cli::Place;
use crate::config::{Config, Limits, Settings, Shape, Users};
use crate::demo::Demo;
use crate::door::Doorkeeper;
use crate::exit::{Failure, chain};
use crate::node::{self, Node};
use crate::pass::Passes;
use crate::reload::Reload;
use crate::secrets::tickets::TicketSecrets;
use crate::telemetry::log;
use crate::telemetry::say::say;
use crate::tls::Tls;
use crate::webhooks::Webhooks;
use crate::{demo, listen, reload, retention, router, secrets};
use bunho_engine::{Engine, EngineError};
use bunho_journal::crash_point;
use bunho_ledger::LedgerError;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

/// Runs the server until SIGTERM, SIGINT, or the journal's end.
///
/// # Errors
/// [`Failure`] with the exit code of what is refused or broke.
pub fn run(place: &Place, listen: Option<String>, with_demo: bool) -> Result<ExitCode, Failure> {
    let settings = super::settings(place, listen.clone())?;
    let config = settings.clone().check()?;
    // Until the last line of this is written, or nobody takes it.
    let _log = log::start(config.log_json, &config.log_level)?;
    raise_open_files(&config);
    let started = Started { place: place.clone(), listen, settings };
    super::block_on(serve(config, started, with_demo))
}

/// What a start was asked for, to be asked again.
struct Started {
    place: Place,
    listen: Option<String>,
    settings: Settings,
}

async fn serve(config: Config, started: Started, with_demo: bool) -> Result<ExitCode, Failure> {
    // Before anything else: from here on a signal to read the configuration again ends nothing.
    let hangups = signal(SignalKind::hangup()).map_err(Failure::internal)?;
    node::prepare(&config.data)?;
    // Everything that can be refused is, before a port is bound.
    if matches!(config.shape, Shape::Embedded) {
        Passes::check_present(&config.data, &config.secrets)?;
    }
    let passes = Passes::load(&config.secrets, &config.pass_issuer)?.publishing_for(config.pass_key_published);
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    let user_tokens = match &config.users {
        Users::Jwt(settings) => Some(UserTokens::load(settings)?),
        Users::Header { .. } => None,
    };
    let node = Node::open(&config).await?;
    let parts = Checked { passes, user_tokens, tls, started, hangups, with_demo };
    let served = serve_node(&config, &node, parts).await;
    node.close().await;
    served
}

/// What was read and found good before the node was opened.
struct Checked {
    passes: Passes,
    user_tokens: Option<UserTokens>,
    tls: Option<Arc<Tls>>,
    started: Started,
    hangups: Signal,
    with_demo: bool,
}

async fn serve_node(config: &Config, node: &Node, checked: Checked) -> Result<ExitCode, Failure> {
    let Checked { passes, user_tokens, tls, started, hangups, with_demo } = checked;
    let engine = node.engine();
    let given = std::env::var("BUNHO_ADMIN_KEY").ok().filter(|key| !key.is_empty());
    let new_admin_key = secrets::ensure_admin_key(node.ledger(), &config.data, given, super::key::now()).await?;
    crash_point!("serve::keys_ensured");
    if with_demo {
        demo::add(&engine).await?;
    }
    let (stop, stopped) = watch::channel(false);
    // The engine read them as well, when it was opened: who made a key since then has told nobody but the folder.
    let tickets = TicketSecrets::load(&config.secrets)?;
    engine.set_ticket_keys(tickets.keys());
    let webhooks = Arc::new(Webhooks::new(config, node.ledger().clone())?);
    let app = App::new(Parts {
        sessions: Sessions::load(tickets.names(), node.ledger()).await?,
        doorkeeper: Doorkeeper::load(&config.join, tickets.names())?,
        tickets,
        tls: tls.clone(),
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
        webhooks: webhooks.clone(),
        shutdown: stopped.clone(),
    });
    let delivering = tokio::spawn(webhooks.run(stopped.clone()));
    if let Record::Kafka { .. } = node.record() {
        tokio::spawn(follow_keys(app.clone(), stopped.clone()));
    }
    let forgetting = tokio::spawn(retention::follow(app.clone(), stopped.clone()));
    let Started { place, listen, settings } = started;
    let reload = Arc::new(Reload::new(place, listen, settings, app.clone()));
    tokio::spawn(reload::follow(reload.clone(), stopped.clone()));
    tokio::spawn(read_again(hangups, reload));
    let shop = with_demo.then(|| Demo::open(app.clone())).transpose().map_err(Failure::internal)?;
    let mut signals = Signals::listen()?;
    let public = bind(config.listen, &config.limits).await?;
    let admin = match config.admin_listen {
        Some(address) => Some(bind(address, &config.limits).await?),
        None => None,
    };
    crash_point!("serve::bound");
    let on = |public: bool| {
        let wanted = config.tls.as_ref().is_some_and(|tls| if public { tls.on_public } else { tls.on_admin });
        tls.clone().filter(|_| wanted)
    };
    let (public_tls, admin_tls) = (on(true), on(false));
    say(format!("bunho {} · {} shape · ack {}", env!("CARGO_PKG_VERSION"), config.shape, config.ack));
    say(whereabouts(config));
    if let Some(key) = new_admin_key {
        say(admin_key_line(&key, &secrets::admin_key_path(&config.data)));
    }
    if let Some((_, address)) = &admin {
        say(format!("administration on {}://{address}", scheme(admin_tls.as_ref())));
    }
    say(format!("serving {}://{}", scheme(public_tls.as_ref()), public.1));
    let limits = || {
        let live = app.in_force.clone();
        move || live.load().limits.clone()
    };
    let router = router::public(app.clone(), shop.clone());
    let mut servers = vec![tokio::spawn(listen::serve(public.0, router, limits(), public_tls, stopped.clone()))];
    if let Some((listener, _)) = admin {
        servers.push(tokio::spawn(listen::serve(listener, router::admin(app.clone()), limits(), admin_tls, stopped)));
    }
    let mut why = signals.until_end(node).await;
    let drain_delay = app.live().limits.drain_delay;
    if let (End::Asked, delay @ 1..) = (&why, drain_delay.as_secs()) {
        app.leave();
        say(format!("stopping: not ready, still serving for {delay} s"));
        if let Ok(sooner) = timeout(drain_delay, signals.until_end(node)).await {
            why = sooner;
        }
    }
    crash_point!("serve::told_to_end");
    let _ = stop.send(true);
    for server in servers {
        let _ = server.await;
    }
    if let Some(shop) = shop {
        shop.close().await;
    }
    let _ = delivering.await;
    let _ = forgetting.await;
    if let Some(tracer) = app.tracer.clone() {
        let _ = tokio::task::spawn_blocking(move || tracer.close()).await;
    }
    crash_point!("serve::drained");
    match why {
        End::Asked => {
            say("stopped: requests answered, everything that was answered is durable");
            Ok(ExitCode::SUCCESS)
        }
        End::Poisoned => Err(Failure::internal(
            "the journal could not be synced; nothing of what failed will be seen again\n  mend: look at the disk (the log says what it answered), then start again",
        )),
    }
}

fn scheme(tls: Option<&Arc<Tls>>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

/// Reads the configuration again whenever somebody asks for it, however the server fares.
async fn read_again(mut hangups: Signal, reload: Arc<Reload>) {
    while hangups.recv().await.is_some() {
        let reload = reload.clone();
        // A panic was logged where it happened; the next signal is another one.
        let _ = tokio::task::spawn_blocking(move || reload.again()).await;
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

/// Tells a new admin key, this once; where the line goes into the system's journal, which others may read, only where it is kept.
fn admin_key_line(key: &str, path: &Path) -> String {
    let is_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::IsTerminal::is_terminal(&std::io::stdout());
    match is_journal {
        true => format!("admin key made; it is in {}", path.display()),
        false => format!("admin key {key} (shown once; kept in {})", path.display()),
    }
}

/// `redis://user:password@host` without what stands before the host.
fn without_password(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

/// What other nodes (and `bunho key`) do to keys, sessions and waiting pages is noticed here within this long, and not much more.
const FOLLOWED_EVERY: Duration = Duration::from_secs(1);

/// Follows the keys of services and administrators, accounts and sessions. What is in files is followed by `reload.rs`.
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

    async fn until_end(&mut self, node: &Node) -> End {
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
pub(crate) async fn caught_up(engine: &Engine) -> Result<(), EngineError> {
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

async fn bind(address: SocketAddr, limits: &Limits) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = listen::bind(address, limits.backlog).and_then(|listener| listener.local_addr().map(|local| (listener, local)));
    bound.map_err(|error| {
        Failure::unavailable(format_args!(
            "{address} cannot be bound: {error}\n  mend: stop what listens there, or choose another with --listen"
        ))
    })
}

/// Every connection is an open file; most systems allow far fewer by default than they can.
pub(crate) fn raise_open_files(config: &Config) {
    let wanted = config.limits.connections_max as u64 + 1_024;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(granted) if granted < wanted => {
            tracing::warn!(granted, wanted, "fewer open files than server.connections_max needs; raise `ulimit -Hn`")
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}
