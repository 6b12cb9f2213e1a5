//! A crowd on this node, so that a person alone can feel a line move: one at a time, of a bounded size, for a bounded time, and gone without a trace when it
//! is over or called off: places left, holds released, purchases taken back.

use super::Demo;
use super::desk::paced;
use super::housekeeping::fill_shelf;
use super::person::{Person, Temper, Whereabouts};
use super::visitor::{Guest, Visitor};
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, FORBIDDEN, IN_USE, Problem};
use axum::Extension;
use axum::http::StatusCode;
use axum::response::Response;
use bunho_domain::ids::UserId;
use bunho_domain::time::Millis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// People in a crowd. Each is a small task that asks once in some seconds: at most 2,000 / 1 s in process, a fraction of what one core answers.
const SIZES: std::ops::RangeInclusive<u32> = 10..=2_000;
/// The longest that one stays.
const STAYS: Duration = Duration::from_secs(5 * 60);
/// How many are there at once, before whoever brought them joins: those two fifths, and no more than enter in about a minute.
const AHEAD_MOST: u32 = 150;
/// The others come after, faster than people enter: a hundred within nine seconds, two thousand within twenty-eight.
const COMING: Duration = Duration::from_secs(8);
const COMING_EACH: Duration = Duration::from_millis(10);
/// How often it is looked whether everybody is through.
const LOOKED_EVERY: Duration = Duration::from_millis(250);
/// How long one waits for the first to be there, or for all to be gone, before answering anyway.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// The people, and who brought them.
pub(super) struct Crowd {
    by: UserId,
    ends_at: Millis,
    people: Arc<[AtomicU8]>,
    stop: watch::Sender<bool>,
    gone: watch::Receiver<bool>,
}

/// A crowd that is about to come.
struct Gathered {
    crowd: Arc<Crowd>,
    lives: Vec<Person>,
    done: watch::Sender<bool>,
}

/// How many to bring.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bring {
    size: u32,
}

/// The crowd as the page draws it.
#[derive(Serialize)]
struct CrowdView {
    size: usize,
    /// Whether the asker brought it, and so may call it off.
    mine: bool,
    ends_at: Rfc3339,
    going: bool,
    /// A letter for each, in the order of their coming: `.` not here yet, `w` waiting, `s` slipped away, `l` left, `i` inside, `p` paid, `e` left without.
    people: String,
}

#[derive(Serialize)]
struct Answer {
    crowd: Option<CrowdView>,
}

/// Brings a crowd. Answers when the first of them stand in the line.
pub(crate) async fn bring(Extension(demo): Extension<Arc<Demo>>, Visitor(user): Visitor, body: JsonBody) -> Answered {
    paced(&demo)?;
    let Bring { size } = body.parse()?;
    if !SIZES.contains(&size) {
        return Err(Problem::field("size", format!("must be {} to {}", SIZES.start(), SIZES.end())));
    }
    let gathered = gather(&demo, user.clone(), size)?;
    let (crowd, ahead) = (gathered.crowd.clone(), ahead_of(size));
    tokio::spawn(run(demo.clone(), gathered));
    within(ANSWERED_WITHIN, || crowd.people[..ahead].iter().all(|person| person.load(Ordering::Relaxed) != Whereabouts::Coming as u8))
        .await;
    Ok(answer(StatusCode::CREATED, &Answer { crowd: Some(crowd.view(&user)) }))
}

/// The crowd that is here.
pub(crate) async fn look(Extension(demo): Extension<Arc<Demo>>, guest: Guest) -> Response {
    let crowd = demo.crowd.lock().clone();
    ok(&Answer { crowd: crowd.map(|crowd| crowd.view(&guest.user)) })
}

/// Sends it home; answers when nothing of it is left. Only for who brought it. Twice, too.
pub(crate) async fn call_off(Extension(demo): Extension<Arc<Demo>>, Visitor(user): Visitor) -> Answered {
    let Some(crowd) = demo.crowd.lock().clone() else { return Ok(no_content()) };
    if crowd.by != user {
        return Err(Problem::new(&FORBIDDEN).detail("Somebody else brought this crowd; it is gone in five minutes at most"));
    }
    let _ = crowd.stop.send(true);
    until_gone(&demo).await;
    Ok(no_content())
}

/// Waits until the crowd that goes home is gone.
pub(super) async fn until_gone(demo: &Demo) {
    let gone = demo.crowd.lock().as_ref().map(|crowd| crowd.gone.clone());
    if let Some(mut gone) = gone {
        let _ = tokio::time::timeout(ANSWERED_WITHIN, gone.wait_for(|gone| *gone)).await;
    }
}

/// Takes the one place that there is for a crowd, and makes its people.
fn gather(demo: &Arc<Demo>, by: UserId, size: u32) -> Result<Gathered, Problem> {
    let mut place = demo.crowd.lock();
    if place.is_some() {
        return Err(Problem::new(&IN_USE).detail("There is a crowd already; the next one may come when it is gone"));
    }
    let (stop, stopped) = watch::channel(false);
    let (done, gone) = watch::channel(false);
    let people: Arc<[AtomicU8]> = (0..size).map(|_| AtomicU8::new(Whereabouts::Coming as u8)).collect();
    // Of one crowd and no other: their keys for the line and their limits are their own.
    let crowd_id = demo.app.engine.nonce();
    let ahead = ahead_of(size);
    let (after, coming) = (size as usize - ahead, COMING + COMING_EACH * size);
    let people_made = (0..size as usize).filter_map(|number| {
        let comes_after = number.checked_sub(ahead).map_or(Duration::ZERO, |late| coming.mul_f64((late + 1) as f64 / after.max(1) as f64));
        Some(Person {
            demo: demo.clone(),
            user: UserId::parse(&format!("crowd-{crowd_id:016x}-{number}")).ok()?,
            temper: Temper::draw(demo.app.engine.nonce(), comes_after),
            shown: people.clone(),
            number,
            stop: stopped.clone(),
        })
    });
    let lives = people_made.collect();
    let ends_at = demo.app.engine.now().plus_ms(STAYS.as_millis() as i64);
    let crowd = Arc::new(Crowd { by, ends_at, people, stop, gone });
    *place = Some(crowd.clone());
    Ok(Gathered { crowd, lives, done })
}

/// Those who are there before whoever brought them.
fn ahead_of(size: u32) -> usize {
    (size * 2 / 5).min(AHEAD_MOST) as usize
}

/// Lets them live until all are through, the time is up, it is called off or the server stops; then clears up, and the next crowd may come.
async fn run(demo: Arc<Demo>, Gathered { crowd, lives, done }: Gathered) {
    fill_shelf(&demo).await;
    let mut lives: JoinSet<()> = lives.into_iter().map(Person::live).collect();
    let mut stop = crowd.stop.subscribe();
    let mut shutdown = demo.app.shutdown.clone();
    tokio::select! {
        () = within(STAYS, || crowd.is_through()) => {}
        _ = stop.wait_for(|stop| *stop) => {}
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    let _ = crowd.stop.send(true);
    while lives.join_next().await.is_some() {}
    *demo.crowd.lock() = None;
    let _ = done.send(true);
}

/// Waits for something, or until the time is up.
async fn within(time: Duration, is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(LOOKED_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(time, looking).await;
}

impl Crowd {
    /// Nobody is still to come, in the line or in the shop.
    fn is_through(&self) -> bool {
        let busy = [Whereabouts::Coming, Whereabouts::Waiting, Whereabouts::Inside].map(|whereabouts| whereabouts as u8);
        !self.people.iter().any(|person| busy.contains(&person.load(Ordering::Relaxed)))
    }

    fn view(&self, asker: &UserId) -> CrowdView {
        let people = self.people.iter().map(|person| char::from(person.load(Ordering::Relaxed))).collect();
        CrowdView { size: self.people.len(), mine: self.by == *asker, ends_at: Rfc3339(self.ends_at), going: *self.stop.borrow(), people }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_stand_before_and_some_behind() {
        for (size, ahead) in [(10, 4), (100, 40), (500, 150), (2_000, 150)] {
            assert_eq!(ahead_of(size), ahead);
        }
    }
}
