//! What must be true after every fault: SQL against itself, the books against SQL, and the keys.

use super::load::{LIMIT, Load, QUOTA, WINDOW_MS};
use super::strike::Stage;
use crate::harness::{Random, unix_ms};
use reqwest::StatusCode;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Each counts what must not be, on PostgreSQL and MariaDB.
const NEVER: &[(&str, &str)] = &[
    (
        "more taken than there is",
        "select count(*) from offers o join (select offer_number, sum(quantity) taken from claims where status in ('held', 'confirmed')
         group by offer_number) t on t.offer_number = o.number where t.taken > o.quantity",
    ),
    (
        "a user beyond the limit",
        "select count(*) from (select 1 from claims c join offers o on o.number = c.offer_number where o.per_user_limit is not null
         and c.status in ('held', 'confirmed') group by c.offer_number, c.user_id having sum(c.quantity) > max(o.per_user_limit)) t",
    ),
    (
        "a key twice",
        "select count(*) from (select 1 from claims where idempotency_key is not null
         group by user_id, offer_number, idempotency_key having count(*) > 1) t",
    ),
    (
        "a step of a claim's life missing or twice",
        "select count(*) from (select 1 from claims c left join claim_events e on e.claim_id = c.id
         group by c.id, c.version having count(e.version) <> c.version or max(e.version) <> c.version) t",
    ),
    ("a hold expired early", "select count(*) from claims where status = 'expired' and hold_expires_at > updated_at"),
    (
        "a grant that is nobody's, or another's",
        "select count(*) from claims b left join claims c on c.id = b.granted where b.granted is not null
         and (c.id is null or c.user_id <> b.user_id or c.offer_id <> 'thanks' or c.status <> 'confirmed' or b.status <> 'confirmed')",
    ),
    (
        "a booking confirmed without its coupon",
        "select count(*) from claims where offer_id = 'stay' and status = 'confirmed' and granted is null",
    ),
    ("a grant given by two", "select count(granted) - count(distinct granted) from claims"),
    (
        "a coupon that nothing granted",
        "select count(*) from claims where offer_id = 'thanks' and id not in (select granted from claims where granted is not null)",
    ),
    (
        "a place served with no claim, or another's",
        "select count(*) from standby s left join claims c on c.id = s.claim_id where s.status = 'served'
         and (c.id is null or c.user_id <> s.user_id or c.quantity <> s.quantity or c.offer_number <> s.offer_number)",
    ),
    ("a place that has a claim and was not served", "select count(*) from standby where status <> 'served' and claim_id is not null"),
    ("a claim that served two places", "select count(claim_id) - count(distinct claim_id) from standby"),
    (
        "standby overtaken",
        "select count(*) from standby w where w.status = 'waiting' and w.id < (select max(id) from standby s
         where s.offer_number = w.offer_number and s.status = 'served')",
    ),
];

/// The ledger catches up, and what is short-lived ends, within this.
const REST: Duration = Duration::from_secs(60);
/// What is parked, and what should have ended.
const LEFT: &str = "select offer_id, reason, payload from parked_events where resolved_at is null
     union all select offer_id, status, id from claims where offer_id in ('flash', 'seats') and status = 'held' limit 5";
/// Keys that are asked again at the end.
const KEYS: usize = 150;

impl Stage<'_> {
    pub async fn check(&self, load: &Load, random: &mut Random) {
        self.until_at_rest().await;
        self.check_never();
        self.check_claims(load);
        self.check_places(load);
        self.check_line(load);
        self.check_keys(load, random).await;
        tokio::task::block_in_place(|| self.server.assert_reconciled());
    }

    /// Everything is in SQL, nothing is parked, and short holds have ended, though nobody asks for them. An event that came before the one that made
    /// room for it is parked until that one comes.
    async fn until_at_rest(&self) {
        let began = Instant::now();
        loop {
            let (status, _) = self.server.user_get("nobody", "/v1/claims").await;
            let left = tokio::task::block_in_place(|| self.server.sql(LEFT));
            if status == StatusCode::OK && left.is_empty() {
                return;
            }
            assert!(began.elapsed() < REST, "the ledger says {status}, and these do not end: {left}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn check_never(&self) {
        for (what, statement) in NEVER {
            assert_eq!(self.server.sql(statement), "0", "{what}");
        }
    }

    /// Every claim that was told is in SQL as it was told last; what was said not to have happened is not there.
    fn check_claims(&self, load: &Load) {
        let rows = self
            .server
            .sql("select id, offer_id, user_id, quantity, status, coalesce(idempotency_key, '-'), coalesce(granted, '-') from claims");
        let rows: HashMap<&str, Vec<&str>> = rows.lines().map(|row| row.split('|').collect::<Vec<_>>()).map(|row| (row[0], row)).collect();
        let books = load.books();
        for (id, told) in &books.claims {
            let row = rows.get(id.as_str()).unwrap_or_else(|| panic!("{id} was told and is not in SQL: {told:?}"));
            let text = |field: &str| told.answer[field].as_str();
            assert_eq!((Some(row[1]), Some(row[2])), (text("offer"), text("user")), "{told:?}");
            assert_eq!(row[3].parse().ok(), told.answer["quantity"].as_u64(), "{told:?}");
            assert_eq!(row[5], told.asked.as_ref().map_or("-", |asked| asked.key.as_str()), "{told:?}");
            assert!(told.may_end(row[4]), "{id} is {} in SQL: {told:?}", row[4]);
            assert!(told.granted.as_ref().is_none_or(|granted| granted == row[6]), "{row:?} {told:?}");
        }
        let keys: std::collections::HashSet<&str> = rows.values().map(|row| row[5]).collect();
        for asked in &books.never {
            assert!(!keys.contains(asked.key.as_str()), "it was said that nothing happened: {asked:?}");
        }
    }

    fn check_places(&self, load: &Load) {
        let rows = self.server.sql("select id, user_id, status from standby");
        let rows: HashMap<&str, Vec<&str>> = rows.lines().map(|row| row.split('|').collect::<Vec<_>>()).map(|row| (row[0], row)).collect();
        for (id, (user, told)) in &load.books().places {
            let row = rows.get(id.as_str()).unwrap_or_else(|| panic!("the place {id} was told and is not in SQL"));
            let may_be = match told.as_str() {
                "left or served" => matches!(row[2], "left" | "served" | "passed"),
                told => told == row[2],
            };
            assert!(may_be && row[1] == user, "{row:?} was told as {told} to {user}");
        }
    }

    /// The limit over any window; who was told to be in is; the order of those who asked as told.
    fn check_line(&self, load: &Load) {
        let rows = self.server.sql("select zone_number, epoch, seq, admitted_at from tickets where admitted_at is not null");
        let mut admitted: BTreeMap<(u32, u32, u32), i64> = BTreeMap::new();
        for row in rows.lines().map(|row| row.split('|').collect::<Vec<_>>()) {
            let number = |place: usize| row[place].parse().unwrap();
            admitted.insert((number(0), number(1), number(2)), unix_ms(row[3]));
        }
        let mut times: Vec<i64> = admitted.values().copied().collect();
        times.sort_unstable();
        for window in times.windows(LIMIT + 1) {
            assert!(window[LIMIT] - window[0] >= WINDOW_MS, "{} entered within {} ms", window.len(), window[LIMIT] - window[0]);
        }
        let books = load.books();
        for (name, who) in &books.entered {
            assert_eq!(admitted.get(&who.ticket), Some(&who.at_ms), "{name} was told to be in");
        }
        let mut in_order: Vec<_> = books.entered.values().filter(|who| who.as_told).collect();
        in_order.sort_unstable_by_key(|who| who.ticket);
        for (place, who) in in_order.iter().enumerate() {
            let overtook = in_order[place + 1..].iter().filter(|other| other.at_ms < who.at_ms).count();
            // Those of one slot may come in any order, and a slot can end between two polls.
            assert!(overtook < 2 * QUOTA, "{who:?} asked as told and was overtaken by {overtook}");
        }
    }

    /// Keys answer as before, those of a sample.
    async fn check_keys(&self, load: &Load, random: &mut Random) {
        let told: Vec<_> = load.books().claims.iter().filter_map(|(id, told)| Some((id.clone(), told.asked.clone()?))).collect();
        for _ in 0..KEYS.min(told.len()) {
            let (id, asked) = &told[random.below(told.len() as u64) as usize];
            load.claim_again(id, asked).await;
        }
    }
}
