//! The page for browsers that run no script: the server joins and polls for them whenever the page is asked for, which it asks browsers to do as often as it
//! would ask a script (`Refresh`). The ticket is in the cookie that the script keeps it in too, so the place is the same.

use super::document::{Content, Filled, Rendered, grouped};
use super::known::Found;
use super::return_to::{Destination, allowed};
use super::{Asked, own_page};
use crate::app::App;
use crate::auth::{cookie, secure};
use crate::door::Shown;
use crate::http::json::FormBody;
use crate::http::traffic::{join, state_word};
use crate::problem::{
    CHALLENGE_REQUIRED, ENQUEUE_TOKEN_INVALID, ENQUEUE_TOKEN_REQUIRED, Problem, TICKET_GONE, TICKET_INVALID, TOO_FAST, seconds_up,
};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Admission, Answer, Place};
use bunho_engine::{EngineError, Entry};
use std::net::IpAddr;
use url::form_urlencoded;

/// Asks browsers to load a page again; what all of them know, and what no document should.
const REFRESH: HeaderName = HeaderName::from_static("refresh");
/// The cookie that a ticket is kept in, by the page's path; the script reads and writes it too.
const TICKET_COOKIE: &str = "bunho_ticket";
/// The cookie that the key of a browser is kept in.
const KEY_COOKIE: &str = "bunho_key";
/// How long a browser keeps a ticket. The line decides what it is worth.
const TICKET_SECONDS: i64 = 24 * 3_600;
/// Shortest time between two loads: each reads a whole page.
const REFRESH_SECONDS_MIN: u32 = 2;
/// Time after which somebody whose question could not be answered asks again.
const BUSY_SECONDS: u32 = 5;

/// Joins or polls, and shows how it stands. Whoever calls has a place among the requests under way.
pub(super) async fn show(
    app: &App,
    found: &Found,
    asked: &Asked,
    language: &'static str,
    (headers, from): (&HeaderMap, Option<IpAddr>),
) -> Response {
    let visit = Visit { app, found, asked, language, headers };
    let ticket = cookie(headers, TICKET_COOKIE).unwrap_or_default();
    // Where the door wants a name, this browser's. The script's page has one of its own.
    let door = found.settings.door;
    let key = (door.pass_bound || door.challenge_bits > 0).then(|| visit.key());
    let shown = Shown { key: key.as_deref(), enqueue_token: asked.enqueue.as_deref(), from, ..Shown::default() };
    let answered = match ticket {
        "" => join(app, &found.id, shown).await,
        ticket => app.engine.poll(&found.id, ticket).await.map_err(Problem::from),
    };
    let response = match answered {
        Ok(entry) => visit.answered(&entry, entry.token.as_deref().unwrap_or(ticket)),
        Err(problem) => match problem.kind() {
            &TICKET_GONE | &TICKET_INVALID => visit.gone(ticket),
            // Work is for scripts to do, and whom nobody vouches for cannot mend that here.
            &CHALLENGE_REQUIRED => visit.refused("script", &problem),
            &ENQUEUE_TOKEN_REQUIRED | &ENQUEUE_TOKEN_INVALID => visit.refused("members", &problem),
            _ => visit.busy(&problem, problem.retry_after_seconds().filter(|_| *problem.kind() == TOO_FAST).unwrap_or(BUSY_SECONDS)),
        },
    };
    match key.filter(|_| door.pass_bound) {
        Some(key) => visit.with_cookie(response, &format!("{KEY_COOKIE}={key}; Path=/; SameSite=Lax; Max-Age={TICKET_SECONDS}")),
        None => response,
    }
}

/// Leaves the line, or joins it again. Only whoever has the ticket can: another site's form does not know it.
pub(super) async fn act(app: &App, found: &Found, asked: &Asked, language: &'static str, headers: &HeaderMap, form: &FormBody) -> Response {
    let visit = Visit { app, found, asked, language, headers };
    let own = cookie(headers, TICKET_COOKIE).unwrap_or_default();
    let ticket = form.field("ticket").filter(|ticket| !ticket.is_empty() && ticket == own);
    match (form.field("do").as_deref(), ticket) {
        (Some("leave"), Some(ticket)) => match app.engine.leave(&found.id, &ticket).await {
            Ok(()) | Err(EngineError::TicketGone | EngineError::TicketInvalid) => visit.ended("left", &ticket),
            Err(error) => visit.busy(&error.into(), BUSY_SECONDS),
        },
        (Some("again"), Some(_)) => visit.with_ticket(visit.see_other(&visit.action()), "", 0),
        _ => visit.see_other(&visit.action()),
    }
}

/// Somebody's request, with what is known of it.
#[derive(Clone, Copy)]
struct Visit<'a> {
    app: &'a App,
    found: &'a Found,
    asked: &'a Asked,
    language: &'static str,
    headers: &'a HeaderMap,
}

impl Visit<'_> {
    fn answered(self, entry: &Entry, ticket: &str) -> Response {
        let response = match entry.answer {
            Answer::Waiting(place) => self.waiting(place, &entry.zone, entry.remaining, ticket),
            Answer::Admitted(admission) => self.admitted(entry, admission),
        };
        self.with_ticket(response, ticket, TICKET_SECONDS)
    }

    fn waiting(self, place: Place, zone: &ZoneSettings, remaining: Option<u32>, ticket: &str) -> Response {
        let state = match state_word(place.state) {
            "waiting" if place.rank == 1 => "next",
            word => word,
        };
        let opens_in = zone.opens_at.map(|at| at.since_ms(self.app.engine.now()).max(0) / 1_000).filter(|_| state == "not_open");
        let seconds = opens_in.or(place.estimated_seconds.map(i64::from));
        let filled = Filled {
            state,
            rank: Some(place.rank),
            behind: Some(place.behind).filter(|behind| *behind > 0),
            remaining,
            span: seconds.map(|seconds| self.span(seconds)),
            message: zone.message.as_deref(),
            button: Some(("leave", ticket)),
            renews: true,
            ..self.blank()
        };
        self.refreshed(self.page(&filled, StatusCode::OK), seconds_up(place.polling_ms))
    }

    fn admitted(self, entry: &Entry, admission: Admission) -> Response {
        let pass = self.app.passes.sign(&self.found.id, entry.subject, admission);
        let destination = self.asked.return_to.as_deref().and_then(|address| allowed(address, &self.found.page.prefixes));
        let response = match destination {
            Some(Destination::Here(path)) => self.see_other(&path),
            Some(Destination::Elsewhere(mut url)) => {
                url.query_pairs_mut().append_pair("pass", &pass);
                self.see_other(url.as_str())
            }
            None => self.page(&Filled { state: "in", ..self.blank() }, StatusCode::OK),
        };
        let seconds = admission.expires_at.since_ms(self.app.engine.now()) / 1_000;
        self.with_cookie(response, &format!("bunho_pass={pass}; Path=/; SameSite=Lax; Max-Age={}", seconds.max(0)))
    }

    fn gone(self, ticket: &str) -> Response {
        self.page(&Filled { state: "gone", button: Some(("again", ticket)), ..self.blank() }, StatusCode::OK)
    }

    fn ended(self, state: &str, ticket: &str) -> Response {
        self.page(&Filled { state, button: Some(("again", ticket)), ..self.blank() }, StatusCode::OK)
    }

    /// The door stays shut, and says why.
    fn refused(self, state: &str, problem: &Problem) -> Response {
        self.page(&Filled { state, ..self.blank() }, problem.status())
    }

    /// The key of this browser, or a new one. Of the script's page it has 32 digits too.
    fn key(self) -> String {
        let is_ours = |key: &&str| key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (one, two) = (self.app.engine.nonce(), self.app.engine.nonce());
        cookie(self.headers, KEY_COOKIE).filter(is_ours).map_or_else(|| format!("{one:016x}{two:016x}"), str::to_owned)
    }

    /// Cannot be said now; asks again by itself.
    fn busy(self, problem: &Problem, seconds: u32) -> Response {
        let filled = Filled { state: "recovering", renews: true, ..self.blank() };
        self.refreshed(self.page(&filled, problem.status()), seconds)
    }

    fn blank(self) -> Filled<'static> {
        Filled { action: self.action(), ..Filled::default() }
    }

    /// This page's own address.
    fn action(self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("plain", "1");
        if let Some(return_to) = &self.asked.return_to {
            query.append_pair("return_to", return_to);
        }
        if let Some(enqueue) = &self.asked.enqueue {
            query.append_pair("enqueue", enqueue);
        }
        if let Some(language) = &self.asked.language {
            query.append_pair("lang", language);
        }
        format!("/wait/{}?{}", self.found.id, query.finish())
    }

    fn page(self, filled: &Filled<'_>, status: StatusCode) -> Response {
        own_page(Rendered::new(&self.found.front(self.language), &Content::Filled(filled)), status)
    }

    fn see_other(self, address: &str) -> Response {
        match HeaderValue::from_str(address) {
            Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
            Err(_) => self.page(&Filled { state: "in", ..self.blank() }, StatusCode::OK),
        }
    }

    /// Has the page asked for again, by the address that says all that must not get lost.
    fn refreshed(self, mut response: Response, seconds: u32) -> Response {
        if let Ok(refresh) = HeaderValue::from_str(&format!("{};url={}", seconds.max(REFRESH_SECONDS_MIN), self.action())) {
            response.headers_mut().insert(REFRESH, refresh);
        }
        response
    }

    fn with_ticket(self, response: Response, ticket: &str, seconds: i64) -> Response {
        // A cookie ends at these, and no ticket of ours has them.
        if !ticket.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return response;
        }
        self.with_cookie(response, &format!("{TICKET_COOKIE}={ticket}; Path=/wait/{}; SameSite=Lax; Max-Age={seconds}", self.found.id))
    }

    fn with_cookie(self, mut response: Response, cookie: &str) -> Response {
        if let Ok(cookie) = HeaderValue::from_str(&format!("{cookie}{}", secure(self.headers))) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// A time from now in words.
    fn span(self, seconds: i64) -> String {
        let minutes = (seconds + 30) / 60;
        let (key, hours, rest) = match minutes {
            _ if seconds < 60 => ("span_seconds", 0, 0),
            0..60 => ("span_minutes", 0, minutes),
            _ => ("span_hours", minutes / 60, minutes % 60),
        };
        let text = self.found.page.texts(self.language).remove(key).unwrap_or_default();
        text.replace("{h}", &grouped(u32::try_from(hours).unwrap_or(u32::MAX))).replace("{n}", &rest.to_string())
    }
}
