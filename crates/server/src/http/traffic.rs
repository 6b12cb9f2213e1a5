//! The waiting line: the two calls of the waiting room, leaving, and the same as a stream.
//!
//! `wait` and `entry` are the hottest paths of the program: they borrow from the request's body, ask the engine once,
//! and write the answer straight into its buffer.

use crate::app::App;
use crate::auth::address::JoinAddress;
use crate::door::Shown;
use crate::http::edge::id_of;
use crate::http::json::{ANSWER_BYTES, JsonBody, JsonText, no_content, written};
use crate::http::params::Params;
use crate::http::stream::{Sent, events, farewell, slot, stopped};
use crate::http::time::Rfc3339;
use crate::metrics::Outcomes;
use crate::problem::{Answered, Problem, seconds_up};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use axum::response::sse::Event;
use bunho_domain::ids::ZoneId;
use bunho_domain::line::{Answer, Place, State as LineState};
use bunho_engine::{EngineError, Entry};
use futures_util::stream::unfold;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// A request for a place. Fields that are not known are ignored.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WaitRequest<'a> {
    /// The zone.
    #[serde(borrow)]
    zone_id: Cow<'a, str>,
    /// A stable key of the client's own: joining again with it gives the same ticket.
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    /// Where the zone asks for it: the token with which the operator's own site vouches for who joins. Who is in it is the key then.
    #[serde(borrow, default)]
    enqueue_token: Option<Cow<'a, str>>,
    /// Where the zone asks for work: the challenge of the answer `challenge_required`.
    #[serde(borrow, default)]
    challenge: Option<Cow<'a, str>>,
    /// A text of at most 55 bytes: `sha256(challenge + solution)` begins with as many zero bits as were asked for.
    #[serde(borrow, default)]
    solution: Option<Cow<'a, str>>,
    /// Taken and ignored, whatever it is.
    #[serde(default, rename = "clientIp")]
    #[schema(value_type = Option<String>)]
    _client_ip: IgnoredAny,
    /// Taken and ignored, whatever it is.
    #[serde(default, rename = "clientAgent")]
    #[schema(value_type = Option<String>)]
    _client_agent: IgnoredAny,
}

/// A ticket and its zone. Fields that are not known are ignored.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TicketRequest<'a> {
    /// The zone.
    #[serde(borrow)]
    zone_id: Cow<'a, str>,
    /// The ticket.
    #[serde(borrow)]
    token: Cow<'a, str>,
}

/// Whose events a stream has.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamParams {
    /// The zone.
    zone_id: String,
    /// The ticket.
    token: String,
}

/// In, with a pass, or still waiting. Written by hand: see [`JsonText`].
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct EntryAnswer<'a> {
    /// Whether the ticket may enter.
    can_enter: bool,
    /// The ticket; it does not change while one waits.
    token: &'a str,
    /// The zone.
    zone_id: &'a str,
    /// How it stands; absent once it may enter.
    waiting: Option<Waiting<'a>>,
    /// Proof of admission: a JWT.
    pass: Option<String>,
    /// When the pass ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    pass_expires_at: Option<Rfc3339>,
}

/// How a waiting ticket stands.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Waiting<'a> {
    /// `waiting`, `not_open`, `paused`, `closed`, `sold_out` or `recovering`.
    state: &'static str,
    /// 1 for who is next.
    rank: u32,
    /// Tickets after this one.
    behind: u32,
    /// Seconds until entry by the measured pace; null where it cannot be said.
    estimated_seconds: Option<u32>,
    /// Milliseconds until the next poll.
    polling_period: u32,
    /// What the operator says to everyone who waits.
    message: Option<&'a str>,
    /// When the zone opens, while it has not.
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<Rfc3339>,
    /// What is left of the zone's offer, where one is tied to it.
    remaining: Option<u32>,
}

impl EntryAnswer<'_> {
    fn json(&self) -> Vec<u8> {
        let mut json = JsonText::with_room(ANSWER_BYTES);
        json.raw(if self.can_enter { "{\"canEnter\":true,\"token\":" } else { "{\"canEnter\":false,\"token\":" });
        json.string(self.token).raw(",\"zoneId\":").string(self.zone_id);
        if let Some(waiting) = &self.waiting {
            waiting.write(json.raw(",\"waiting\":"));
        }
        if let Some(pass) = &self.pass {
            json.raw(",\"pass\":").string(pass);
        }
        if let Some(ends) = self.pass_expires_at {
            json.raw(",\"passExpiresAt\":").time(ends);
        }
        json.raw("}");
        json.into_bytes()
    }
}

impl Waiting<'_> {
    fn write(&self, json: &mut JsonText) {
        json.raw("{\"state\":").string(self.state).raw(",\"rank\":").number(self.rank).raw(",\"behind\":").number(self.behind);
        json.raw(",\"estimatedSeconds\":").or_null(self.estimated_seconds, JsonText::number);
        json.raw(",\"pollingPeriod\":").number(self.polling_period);
        json.raw(",\"message\":").or_null(self.message, JsonText::string);
        json.raw(",\"opensAt\":").or_null(self.opens_at, JsonText::time);
        json.raw(",\"remaining\":").or_null(self.remaining, JsonText::number).raw("}");
    }
}

/// Joins the line of a zone, or enters at once.
#[utoipa::path(post, path = "/traffic/wait", tag = "line", request_body = WaitRequest, responses((status = 200, body = EntryAnswer)))]
pub(crate) async fn wait(State(app): State<Arc<App>>, JoinAddress(from): JoinAddress, body: JsonBody) -> Answered {
    let request: WaitRequest<'_> = body.parse()?;
    let zone = zone_id(&request.zone_id)?;
    let shown = Shown {
        key: request.key.as_deref(),
        enqueue_token: request.enqueue_token.as_deref(),
        challenge: request.challenge.as_deref(),
        solution: request.solution.as_deref(),
        from,
    };
    let entry = join(&app, &zone, shown).await?;
    if let Answer::Waiting(Place { estimated_seconds: Some(told), .. }) = entry.answer {
        app.live.estimates.joined(entry.subject.zone, entry.subject.ticket, told, || app.engine.now());
    }
    note_entry(&app, &zone, &entry);
    let token = entry.token.as_deref().unwrap_or_default();
    Ok(answer(&app, &entry, token, &zone))
}

/// Joins, if the zone's door lets somebody in who shows this.
pub(crate) async fn join(app: &App, zone: &ZoneId, shown: Shown<'_>) -> Result<Entry, Problem> {
    let (number, settings) = app.engine.zone_settings(zone).await.map_err(Problem::from).inspect_err(|problem| refused(app, problem))?;
    let key = app.doorkeeper.load().ask(zone, (number, &settings), shown, app.engine.now());
    let key = key.inspect_err(|problem| refused(app, problem))?;
    counted(app.metrics.joins(), app.engine.join(zone, key.as_deref()).await)
}

fn refused(app: &App, problem: &Problem) {
    app.metrics.joins().count(problem.kind().code);
}

/// Polls with a ticket.
#[utoipa::path(post, path = "/traffic/entry", tag = "line", request_body = TicketRequest, responses((status = 200, body = EntryAnswer)))]
pub(crate) async fn entry(State(app): State<Arc<App>>, body: JsonBody) -> Answered {
    let request: TicketRequest<'_> = body.parse()?;
    let zone = zone_id(&request.zone_id)?;
    let entry = counted(app.metrics.polls(), app.engine.poll(&zone, &request.token).await)?;
    note_entry(&app, &zone, &entry);
    Ok(answer(&app, &entry, &request.token, &zone))
}

/// Gives a place up, or ends an active session. Twice, too.
#[utoipa::path(post, path = "/traffic/leave", tag = "line", request_body = TicketRequest, responses((status = 204)))]
pub(crate) async fn leave(State(app): State<Arc<App>>, body: JsonBody) -> Answered {
    let request: TicketRequest<'_> = body.parse()?;
    match app.engine.leave(&zone_id(&request.zone_id)?, &request.token).await {
        // Whoever has no place any more has left.
        Ok(()) | Err(EngineError::TicketGone) => Ok(no_content()),
        Err(error) => Err(error.into()),
    }
}

/// Waits on one connection: events `waiting` and, at last, `enter`, with the same JSON. The server polls for the client,
/// at the pace that it would have told it.
#[utoipa::path(get, path = "/traffic/stream", tag = "line", params(StreamParams),
    responses((status = 200, content_type = "text/event-stream", body = EntryAnswer)))]
pub(crate) async fn stream(State(app): State<Arc<App>>, headers: HeaderMap, Params(request): Params<StreamParams>) -> Answered {
    let zone = zone_id(&request.zone_id)?;
    let slot = slot(&app)?;
    // Asked before the stream begins, so that a bad ticket is a plain problem.
    let first = counted(app.metrics.polls(), app.engine.poll(&zone, &request.token).await)?;
    let waiting = Stream {
        app,
        zone,
        token: request.token,
        request_id: id_of(&headers).unwrap_or_default(),
        _slot: slot,
        next: Next::Send(Ok(first)),
    };
    Ok(events(unfold(waiting, Stream::advance)))
}

struct Stream {
    app: Arc<App>,
    zone: ZoneId,
    token: String,
    request_id: String,
    _slot: crate::app::StreamSlot,
    next: Next,
}

enum Next {
    Send(Result<Entry, Problem>),
    Poll(Duration),
    End,
}

impl Stream {
    async fn advance(mut self) -> Option<(Sent, Self)> {
        loop {
            match std::mem::replace(&mut self.next, Next::End) {
                Next::End => return None,
                Next::Poll(after) => {
                    tokio::select! {
                        () = tokio::time::sleep(after) => {}
                        () = stopped(&self.app) => return Some((Ok(farewell()), self)),
                    }
                    self.next = match self.app.engine.poll(&self.zone, &self.token).await {
                        // The client polls beside the stream; neither is to blame alone.
                        Err(EngineError::TooFast { retry_ms }) => Next::Poll(Duration::from_millis(retry_ms.into())),
                        polled => Next::Send(counted(self.app.metrics.polls(), polled)),
                    };
                }
                Next::Send(Ok(entry)) => {
                    note_entry(&self.app, &self.zone, &entry);
                    let body = entry_answer(&self.app, &entry, &self.token, &self.zone);
                    let data = String::from_utf8(body.json()).unwrap_or_default();
                    let name = if body.can_enter { "enter" } else { "waiting" };
                    if let Answer::Waiting(place) = entry.answer {
                        self.next = Next::Poll(Duration::from_millis(place.polling_ms.into()));
                    }
                    return Some((Ok(Event::default().event(name).data(data)), self));
                }
                Next::Send(Err(problem)) => {
                    let data = String::from_utf8(problem.render(&self.request_id)).unwrap_or_default();
                    return Some((Ok(Event::default().event("problem").data(data)), self));
                }
            }
        }
    }
}

/// Who enters may be one of those whose estimate is held against what it took. Who still waits costs nothing here.
fn note_entry(app: &App, zone: &ZoneId, entry: &Entry) {
    if let Answer::Admitted(admission) = entry.answer {
        app.live.estimates.entered(zone, entry.subject.zone, entry.subject.ticket, admission.at);
    }
}

fn zone_id(text: &str) -> Result<ZoneId, Problem> {
    ZoneId::parse(text).map_err(|error| Problem::field("zoneId", error.to_string()))
}

fn counted(outcomes: &Outcomes, result: Result<Entry, EngineError>) -> Result<Entry, Problem> {
    result.map_err(Problem::from).inspect(|entry| outcomes.count(word(entry))).inspect_err(|problem| outcomes.count(problem.kind().code))
}

const fn word(entry: &Entry) -> &'static str {
    match entry.answer {
        Answer::Admitted(_) => "admitted",
        Answer::Waiting(_) => "waiting",
    }
}

fn answer(app: &App, entry: &Entry, token: &str, zone: &ZoneId) -> Response {
    let body = entry_answer(app, entry, token, zone);
    let mut response = written(body.json());
    if let Some(waiting) = &body.waiting {
        response.headers_mut().insert(RETRY_AFTER, seconds_up(waiting.polling_period).into());
    }
    response
}

fn entry_answer<'a>(app: &App, entry: &'a Entry, token: &'a str, zone: &'a ZoneId) -> EntryAnswer<'a> {
    let mut body = EntryAnswer { can_enter: false, token, zone_id: zone.as_str(), waiting: None, pass: None, pass_expires_at: None };
    match entry.answer {
        Answer::Waiting(place) => body.waiting = Some(waiting(entry, place)),
        Answer::Admitted(admission) => {
            body.can_enter = true;
            body.pass = Some(app.passes.sign(zone, entry.subject, admission));
            body.pass_expires_at = Some(Rfc3339(admission.expires_at));
        }
    }
    body
}

fn waiting(entry: &Entry, place: Place) -> Waiting<'_> {
    let not_open = place.state == LineState::NotOpen;
    Waiting {
        state: state_word(place.state),
        rank: place.rank,
        behind: place.behind,
        estimated_seconds: place.estimated_seconds,
        polling_period: place.polling_ms,
        message: entry.zone.message.as_deref(),
        opens_at: entry.zone.opens_at.filter(|_| not_open).map(Rfc3339),
        remaining: entry.remaining,
    }
}

/// The word for whether a line moves, here and wherever a zone is shown.
pub(crate) const fn state_word(state: LineState) -> &'static str {
    match state {
        LineState::Waiting => "waiting",
        LineState::NotOpen => "not_open",
        LineState::Paused => "paused",
        LineState::Closed => "closed",
        LineState::SoldOut => "sold_out",
        LineState::Recovering => "recovering",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunho_domain::time::Millis;
    use serde_json::{Value, json};
    use utoipa::PartialSchema;

    fn parsed(answer: &EntryAnswer<'_>) -> Value {
        serde_json::from_slice(&answer.json()).expect("JSON")
    }

    /// Names in the OpenAPI document, which is derived, are those in the answer, which is written by hand.
    fn check_names(schema: &utoipa::openapi::RefOr<utoipa::openapi::Schema>, answers: &[&Value]) {
        let schema = serde_json::to_value(schema).expect("JSON");
        let named: std::collections::BTreeSet<_> = schema["properties"].as_object().expect("an object").keys().collect();
        let sent: std::collections::BTreeSet<_> = answers.iter().flat_map(|answer| answer.as_object().expect("an object").keys()).collect();
        assert_eq!(named, sent);
    }

    #[test]
    fn the_answers_are_as_the_contract_shows_them() {
        let waiting = Waiting {
            state: "not_open",
            rank: 1_234,
            behind: 0,
            estimated_seconds: Some(u32::MAX),
            polling_period: 3_000,
            message: Some("곧 \"열립니다\"\n"),
            opens_at: Some(Rfc3339(Millis(0))),
            remaining: None,
        };
        let answer = EntryAnswer { can_enter: false, token: "t", zone_id: "Z", waiting: Some(waiting), pass: None, pass_expires_at: None };
        let shown = parsed(&answer);
        assert_eq!(
            shown,
            json!({"canEnter": false, "token": "t", "zoneId": "Z", "waiting": {
                "state": "not_open", "rank": 1_234, "behind": 0, "estimatedSeconds": u32::MAX, "pollingPeriod": 3_000,
                "message": "곧 \"열립니다\"\n", "opensAt": "1970-01-01T00:00:00.000Z", "remaining": null}})
        );
        let ends = Some(Rfc3339(Millis(1)));
        let inside =
            EntryAnswer { can_enter: true, token: "t", zone_id: "Z", waiting: None, pass: Some("a.b.c".into()), pass_expires_at: ends };
        let entered = parsed(&inside);
        assert_eq!(
            entered,
            json!({"canEnter": true, "token": "t", "zoneId": "Z", "pass": "a.b.c", "passExpiresAt": "1970-01-01T00:00:00.001Z"})
        );
        check_names(&EntryAnswer::schema(), &[&shown, &entered]);
        check_names(&Waiting::schema(), &[&shown["waiting"]]);
    }
}
