//! What is read again while the server runs: the configuration on SIGHUP, files of certificates and keys also by themselves.
//!
//! A configuration is read and checked as at a start, with every file that it names. What is refused changes nothing, and is told. Of what is
//! good, settings that can (`config/live.rs`) count from then on, and the others are named: they wait for a restart.

use crate::app::App;
use crate::auth::users::UserTokens;
use crate::cli::Place;
use crate::commands;
use crate::config::live::Change;
use crate::config::{Config, Refused, Settings, Users};
use crate::exit::Failure;
use crate::secrets::tickets::TicketSecrets;
use crate::telemetry::log;
use crate::tls::{Looked, Stamp, Tls};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

static TAKEN: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Configurations taken and refused since the start.
pub(crate) fn counts() -> (u64, u64) {
    (TAKEN.load(Ordering::Relaxed), REFUSED.load(Ordering::Relaxed))
}

/// Reads the configuration again.
pub(crate) struct Reload {
    place: Place,
    listen: Option<String>,
    app: Arc<App>,
    /// What is in force, as it was written.
    settings: Mutex<Settings>,
}

impl Reload {
    pub(crate) fn new(place: Place, listen: Option<String>, settings: Settings, app: Arc<App>) -> Self {
        Self { place, listen, app, settings: Mutex::new(settings) }
    }

    /// Reads everything again and says what came of it. Blocks on the disk.
    pub(crate) fn again(&self) {
        let mut settings = self.settings.lock();
        match self.take(&settings) {
            Ok(in_force) => {
                *settings = in_force;
                TAKEN.fetch_add(1, Ordering::Relaxed);
            }
            Err(refused) => {
                REFUSED.fetch_add(1, Ordering::Relaxed);
                tracing::error!("the configuration that was read again is refused, and the one in force stays: {refused}");
            }
        }
        look_at_tickets(&self.app);
        self.app.passes.look_again();
    }

    fn take(&self, old: &Settings) -> Result<Settings, Failure> {
        let new = commands::settings(&self.place, self.listen.clone())?;
        let Change { settings, config, taken, waiting } = Change::between(old, &new)?;
        // First all that can be refused, then all that changes.
        let filter = log::filter(&config.log_level)?;
        let tokens = read_tokens(&self.app, old, &config)?;
        let doorkeeper = self.app.doorkeeper.load().again(&config.join)?;
        if let (Some(tls), Some(wanted)) = (&self.app.tls, &config.tls) {
            Tls::take(tls, wanted)?;
        }
        if let Some(tokens) = tokens {
            self.app.user_tokens.store(Some(Arc::new(tokens)));
        }
        self.app.doorkeeper.store(Arc::new(doorkeeper));
        log::set_filter(filter);
        commands::serve::raise_open_files(&config);
        self.app.put_in_force(config);
        let none = "nothing";
        let shown = |names: &[String]| if names.is_empty() { none.to_owned() } else { names.join(", ") };
        tracing::info!(changed = shown(&taken), waits_for_a_restart = shown(&waiting), "the configuration was read again");
        Ok(settings)
    }
}

/// The keys of users' tokens, where they are in a file, or where to have them has changed. A set that was fetched stays until the next token comes.
fn read_tokens(app: &App, old: &Settings, new: &Config) -> Result<Option<UserTokens>, Refused> {
    let Users::Jwt(settings) = &new.users else { return Ok(None) };
    let Some(tokens) = app.user_tokens.load_full() else { return Ok(None) };
    if settings.jwks_url.is_some() && *settings == old.auth.jwt {
        tokens.doubt();
        return Ok(None);
    }
    UserTokens::load(settings).map(Some)
}

/// Follows the files of certificates and keys, until the server stops.
pub(crate) async fn follow(reload: Arc<Reload>, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let seen = Arc::new(Mutex::new(Seen::default()));
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let (reload, seen) = (reload.clone(), seen.clone());
        // A panic was logged where it happened; the next look is another one.
        let _ = tokio::task::spawn_blocking(move || reload.look(&mut seen.lock())).await;
    }
}

impl Reload {
    fn look(&self, seen: &mut Seen) {
        // What is read under settings that go out of force meanwhile must not be put over what came with the new ones.
        let _settings = self.settings.lock();
        let app = &self.app;
        if let Some(tls) = &app.tls {
            let _: Looked = tls.look_again();
        }
        look_at_tickets(app);
        app.passes.look_again();
        let live = app.live();
        if let Users::Jwt(settings) = &live.users {
            let take = || {
                app.user_tokens.store(Some(Arc::new(UserTokens::load(settings)?)));
                Ok(())
            };
            seen.users.look(settings.key_file.iter().chain(&settings.jwks_file), take, "keys of users' tokens");
        }
        if let Some(settings) = &live.join.token {
            let take = || {
                app.doorkeeper.store(Arc::new(app.doorkeeper.load().again(&live.join)?));
                Ok(())
            };
            let files = settings.secret_file.iter().chain(&settings.key_file).chain(&settings.jwks_file);
            seen.site.look(files, take, "keys of the site's tokens");
        }
    }
}

/// Takes the secrets of tickets as they are in the folder now: another node, or `bunho key rotate`, may have changed them. Blocks on the disk.
pub(crate) fn look_at_tickets(app: &App) {
    static FAILS: AtomicBool = AtomicBool::new(false);
    match TicketSecrets::read(&app.config.secrets) {
        Ok(Some(found)) => {
            FAILS.store(false, Ordering::Relaxed);
            if **app.tickets.load() != found {
                tracing::info!(keys = found.list().len(), "the keys that sign tickets have changed");
                app.put_tickets(found);
            }
        }
        wrong if !FAILS.swap(true, Ordering::Relaxed) => {
            let failure = wrong.err().map(|failure| failure.to_string());
            tracing::error!(failure, "the keys that sign tickets cannot be read again; those in memory are used");
        }
        _ => {}
    }
}

/// Files with keys of tokens, as they were seen last.
#[derive(Default)]
struct Seen {
    users: Files,
    site: Files,
}

#[derive(Default)]
struct Files {
    last: Option<Stamp>,
    tried: Option<Stamp>,
}

impl Files {
    /// As certificates are: taken when two looks saw them alike. So they are once soon after the start, too: they may have changed since they were read then.
    fn look<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf>, take: impl FnOnce() -> Result<(), Refused>, what: &str) {
        let mut files = files.peekable();
        // Fetched, then.
        if files.peek().is_none() {
            return;
        }
        let stamp = Stamp::of_files(files);
        let rests = self.last.replace(stamp.clone()).as_ref() == Some(&stamp);
        if !rests || self.tried.as_ref() == Some(&stamp) {
            return;
        }
        let is_first = self.tried.replace(stamp).is_none();
        match take() {
            Ok(()) if is_first => {}
            Ok(()) => tracing::info!("the {what} were read again"),
            Err(refused) => tracing::error!(problem = refused.problem, "the {what} cannot be used; the old ones are"),
        }
    }
}
