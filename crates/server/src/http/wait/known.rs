//! The pages that this node knows: what operators have set, followed as other nodes change it, and what has been rendered of it.
//!
//! A crowd loads the page in one second, so for each zone, language and revision it is rendered and compressed once and then served from memory. Both are
//! bounded: by what operators have set, and by [`KEPT_MAX`].

use super::document::{Content, Kept, Purpose, Rendered};
use super::settings::{Page, PageBody};
use super::texts::{self, Texts};
use crate::app::App;
use crate::problem::Problem;
use arc_swap::ArcSwap;
use bunho_domain::ids::ZoneId;
use bunho_domain::line::settings::ZoneSettings;
use bunho_ledger::{Ledger, LedgerError};
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rendered pages that are kept: 500 zones in two languages. Each takes about 20 KB compressed.
const KEPT_MAX: usize = 1_000;

/// Every page that is known.
pub(crate) struct Pages {
    by_zone: ArcSwap<HashMap<u32, Arc<Page>>>,
    standard: Arc<Page>,
    kept: Cache<Key, Arc<Kept>>,
    followed: AtomicBool,
    /// Held while pages are read and put in place, so that of two readers the one with the older rows does not end last.
    following: tokio::sync::Mutex<()>,
}

/// What a rendered page depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    zone: u32,
    zone_revision: u32,
    page_revision: u32,
    language: &'static str,
    purpose: Purpose,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            by_zone: ArcSwap::default(),
            standard: Arc::new(Page::standard()),
            kept: Cache::new(KEPT_MAX),
            followed: AtomicBool::new(false),
            following: tokio::sync::Mutex::default(),
        }
    }
}

impl Pages {
    /// Notices what has changed in the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(crate) async fn follow(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let _following = self.following.lock().await;
        let known = self.by_zone.load_full();
        let mut found = HashMap::new();
        let mut changed = false;
        for (zone, revision) in ledger.page_revisions().await? {
            let same = known.get(&zone).filter(|page| page.revision == revision);
            let page = match same {
                Some(page) => page.clone(),
                None => {
                    changed = true;
                    let Some(row) = ledger.page(zone).await? else { continue };
                    Arc::new(read(zone, row.revision, &row.page))
                }
            };
            found.insert(zone, page);
        }
        if changed || found.len() != known.len() {
            self.by_zone.store(Arc::new(found));
        }
        self.followed.store(true, Ordering::Release);
        Ok(())
    }

    /// The page of a zone, by its number.
    pub(crate) async fn of(&self, zone: u32, ledger: &Ledger) -> Arc<Page> {
        if !self.followed.load(Ordering::Acquire)
            && let Err(error) = self.follow(ledger).await
        {
            tracing::warn!(error = crate::exit::chain(&error), "waiting pages are shown as they come until the ledger answers");
        }
        self.by_zone.load().get(&zone).cloned().unwrap_or_else(|| self.standard.clone())
    }
}

/// What stands in the ledger was checked before it was put there; what an older or newer release wrote may not pass now.
fn read(zone: u32, revision: u32, json: &str) -> Page {
    let body = serde_json::from_str::<PageBody>(json);
    match body.map_err(|error| error.to_string()).and_then(|body| Page::check(body, revision).map_err(|problem| format!("{problem:?}"))) {
        Ok(page) => page,
        Err(error) => {
            tracing::warn!(zone, revision, error, "the settings of a waiting page cannot be used; it is shown as it comes");
            Page { revision, ..Page::standard() }
        }
    }
}

/// A zone as its page shows it.
pub(crate) struct Front<'a> {
    pub(crate) zone: &'a ZoneId,
    pub(crate) page: &'a Page,
    pub(crate) title: &'a str,
    pub(crate) language: &'static str,
    pub(crate) texts: Texts,
    /// The page's path.
    pub(crate) path: String,
}

/// What is known of the zone that somebody has asked for.
pub(crate) struct Found {
    pub(crate) id: ZoneId,
    pub(crate) number: u32,
    pub(crate) settings: Arc<ZoneSettings>,
    pub(crate) page: Arc<Page>,
}

impl Found {
    /// Looks a zone up.
    ///
    /// # Errors
    /// There is none, or it cannot be said now.
    pub(crate) async fn look(app: &App, id: &str) -> Result<Self, Problem> {
        let id = crate::http::zones::path_id(id)?;
        let (number, settings) = app.engine.zone_settings(&id).await?;
        let page = app.pages.of(number, &app.ledger).await;
        Ok(Self { id, number, settings, page })
    }

    /// As it is shown in a language.
    pub(crate) fn front(&self, language: &'static str) -> Front<'_> {
        Front::new(&self.id, &self.page, self.page.title(language, self.name()), language)
    }

    /// A zone without a name is called by its id.
    fn name(&self) -> &str {
        if self.settings.name.trim().is_empty() { self.id.as_str() } else { &self.settings.name }
    }

    /// The page with its script, rendered where it was not yet.
    ///
    /// # Errors
    /// Rendering failed.
    pub(crate) async fn kept(&self, app: &App, language: &'static str, purpose: Purpose) -> Result<Arc<Kept>, Problem> {
        let page_revision = if purpose == Purpose::Preview { 0 } else { self.page.revision };
        let key = Key { zone: self.number, zone_revision: self.settings.revision, page_revision, language, purpose };
        let render = async {
            let rendered = self.rendered(app, language, purpose);
            let kept = tokio::task::spawn_blocking(move || Arc::new(rendered.keep()));
            kept.await.map_err(|error| Problem::internal(&error))
        };
        app.pages.kept.get_or_insert_async(&key, render).await
    }

    /// The page with its script.
    pub(crate) fn rendered(&self, app: &App, language: &'static str, purpose: Purpose) -> Rendered {
        let content = Content::Scripted(purpose);
        match purpose {
            Purpose::Waiting => Rendered::new(&self.front(language), &content),
            // The console sends what is to be shown.
            Purpose::Preview => {
                let standard = &app.pages.standard;
                Rendered::new(&Front::new(&self.id, standard, self.name(), language), &content)
            }
        }
    }
}

impl<'a> Front<'a> {
    pub(crate) fn new(zone: &'a ZoneId, page: &'a Page, title: &'a str, language: &'static str) -> Self {
        Self { zone, page, title, language, texts: page.texts(language), path: format!("/wait/{zone}") }
    }

    /// A zone that is not there, or not now.
    pub(crate) fn unknown(zone: &'a ZoneId, page: &'a Page, language: &'static str) -> Self {
        Self { zone, page, title: "Bunho 번호", language, texts: texts::texts(language).clone(), path: String::new() }
    }

    /// Where its logo is; the revision makes the address another one when it changes.
    pub(crate) fn logo(&self) -> Option<String> {
        self.page.logo.as_ref().map(|_| format!("{}/logo?v={}", self.path, self.page.revision))
    }

    /// The same page in another language.
    pub(crate) fn in_language(&self, language: &str, filled: &super::document::Filled<'_>) -> String {
        match filled.action.split_once('?') {
            Some((path, query)) => format!("{path}?{query}&lang={language}"),
            None => format!("?lang={language}"),
        }
    }
}
