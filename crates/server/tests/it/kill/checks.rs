//! What must be true after every restart: the books against the API and against SQL, and SQL against itself.

use super::books::{Books, Made};
use super::clients::{As, Caller, Claimed, Gone};
use super::operator::{GATE_LIMIT, GATE_WINDOW_MS};
use crate::harness::{Random, Server};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// Each counts what must not be: nobody twice, nothing beyond its quantity, grants and standby completed exactly once.
const NEVER: &[(&str, &str)] = &[
    (
        "more taken than there is",
        "select count(*) from offers o join (select offer_number, sum(quantity) taken from claims where status in ('held', 'confirmed')
         group by offer_number) t on t.offer_number = o.number where t.taken > o.quantity",
    ),
    (
        "a user beyond the limit",
        "select count(*) from (select 1 from claims c join offers o on o.number = c.offer_number where o.per_user_limit is not null
         and c.status in ('held', 'confirmed') group by c.offer_number, c.user_id having sum(c.quantity) > max(o.per_user_limit))",
    ),
    (
        "a key twice",
        "select count(*) from (select 1 from claims where idempotency_key is not null
         group by +user_id, +offer_number, +idempotency_key having count(*) > 1)",
    ),
    ("a parked event", "select count(*) from parked_events"),
    (
        "a step of a claim's life missing or twice",
        "select count(*) from (select c.version from claims c left join claim_events e on e.claim_id = c.id
         group by c.id having count(e.version) <> c.version or max(e.version) <> c.version)",
    ),
    ("a hold expired early", "select count(*) from claims where status = 'expired' and hold_expires_at > updated_at"),
    (
        "a grant that is nobody's, or another's",
        "select count(*) from claims b left join claims c on c.id = b.granted where b.granted is not null
         and (c.id is null or c.user_id <> b.user_id or c.offer_id <> 'thanks' or c.status <> 'confirmed' or b.status not in ('confirmed', 'returned'))",
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
        "standby served out of order",
        "select count(*) from (select claim_id, lag(claim_id) over (partition by offer_number order by id) earlier from standby
         where status = 'served') where earlier >= claim_id",
    ),
    (
        "standby overtaken",
        "select count(*) from standby w where w.status = 'waiting' and w.id < (select max(id) from standby s
         where s.offer_number = w.offer_number and s.status = 'served')",
    ),
];

/// What the check after a restart looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What was told since the last time.
    Recent,
    /// Everything ever told, and `reconcile`.
    Everything,
}

/// What was read of the gate's tickets so far: who was let in when. Rows are pruned one day, so they are kept here.
#[derive(Default)]
pub struct Gate {
    admitted: BTreeMap<(u32, u32), i64>,
}

impl Gate {
    pub fn admissions(&self) -> usize {
        self.admitted.len()
    }
}

impl Caller {
    /// Everything that must be true. `Err`: the server died meanwhile, as it may.
    pub async fn check(&self, server: &Server, gate: &mut Gate, depth: Depth, random: &mut Random) -> Result<(), Gone> {
        // Listening takes its time: the line's order is looked at every second time.
        let looks = depth == Depth::Everything || random.below(2) == 0;
        let heard = if looks { Some(self.hear_queue(random).await?) } else { None };
        self.until_projected().await?;
        self.check_never(server);
        self.check_claims(server, depth);
        self.check_standby(server);
        self.check_gate(server, gate);
        self.check_made(server).await?;
        self.check_keys_answer_the_same(random).await?;
        self.check_offers(server).await?;
        if let Some(heard) = heard {
            self.check_ranks(heard).await?;
        }
        if depth == Depth::Everything {
            self.check_grants(server);
            self.check_reconciled().await?;
        }
        self.books().touched.clear();
        Ok(())
    }

    /// As [`Self::call`]; a server whose journal has just failed is as good as dead.
    async fn ask(&self, who: As<'_>, method: Method, path: &str, body: Option<Value>) -> Result<(StatusCode, Value), Gone> {
        match self.call(who, method, path, body).await? {
            (StatusCode::SERVICE_UNAVAILABLE, _) => Err(Gone),
            answered => Ok(answered),
        }
    }

    /// Waits until the ledger holds what was decided before.
    async fn until_projected(&self) -> Result<(), Gone> {
        let (status, answer) = self.ask(As::User("nobody"), Method::GET, "/v1/claims", None).await?;
        assert_eq!(status, StatusCode::OK, "{answer}");
        Ok(())
    }

    fn check_never(&self, server: &Server) {
        let all: Vec<String> = NEVER.iter().map(|(_, statement)| format!("{statement};")).collect();
        let counts = server.sql(&all.join("\n"));
        for (count, (what, _)) in counts.lines().zip(NEVER) {
            assert_eq!(count, "0", "{what}");
        }
        assert_eq!(counts.lines().count(), NEVER.len());
    }

    /// Every claim that was told is in SQL, in a state that what was told and tried allows; what was refused with 503 is not.
    fn check_claims(&self, server: &Server, depth: Depth) {
        let books = self.books();
        let mut select =
            "select id, offer_id, user_id, quantity, status, coalesce(idempotency_key, ''), coalesce(granted, '') from claims".to_string();
        if depth == Depth::Recent {
            let ids: Vec<String> = books.touched.iter().map(|id| format!("'{id}'")).collect();
            select += &format!(" where id in ({})", ids.join(","));
        }
        let rows = server.sql(&select);
        let rows: HashMap<&str, Vec<&str>> = rows.lines().map(|row| row.split('|').collect::<Vec<_>>()).map(|row| (row[0], row)).collect();
        for (id, told) in books.claims.iter().filter(|(id, _)| depth == Depth::Everything || books.touched.contains(*id)) {
            let row = rows.get(id.as_str()).unwrap_or_else(|| panic!("{id} was told and is not in SQL: {told:?}"));
            assert_eq!((row[1], row[2]), (told.offer.as_str(), told.user.as_str()), "{told:?}");
            assert_eq!(Some(row[3].parse::<u64>().unwrap()), told.answer["quantity"].as_u64());
            assert_eq!(row[5], told.asked.as_ref().map_or("", |asked| asked.key.as_str()));
            assert!(told.may_be(row[4]), "{id} is {} in SQL: {told:?}", row[4]);
            if let Some(granted) = &told.granted {
                assert_eq!(row[6], granted[0].as_str().unwrap_or_default(), "{told:?}");
            }
        }
        if !books.failed.is_empty() {
            let keys: Vec<String> = books.failed.iter().map(|asked| format!("'{}'", asked.key)).collect();
            let seen = server.sql(&format!("select count(*) from claims where idempotency_key in ({})", keys.join(",")));
            assert_eq!(seen, "0", "what was refused with 503 is never seen");
        }
    }

    fn check_standby(&self, server: &Server) {
        let rows = server.sql("select id, user_id, status from standby");
        let rows: HashMap<&str, Vec<&str>> = rows.lines().map(|row| row.split('|').collect::<Vec<_>>()).map(|row| (row[0], row)).collect();
        for (id, place) in &self.books().places {
            let row = rows.get(id.as_str()).unwrap_or_else(|| panic!("the place {id} was told and is not in SQL: {place:?}"));
            assert_eq!(row[1], place.user);
            let may_be = match (place.status.as_str(), row[2]) {
                ("waiting", "waiting" | "served" | "passed") => true,
                ("waiting", "left") => place.leaving,
                // `deadline` of a place that was served before it was given up.
                ("left or served", "left" | "served" | "passed") => true,
                (told, now) => told == now,
            };
            assert!(may_be, "{id} is {} in SQL: {place:?}", row[2]);
        }
    }

    /// The limit over any window, across all kills; nobody is let in twice; who was told to be in is.
    fn check_gate(&self, server: &Server, gate: &mut Gate) {
        let rows = server.sql(
            "select t.zone_number, t.epoch, t.seq, t.admitted_at from tickets t join zones z on z.number = t.zone_number
             where z.id = 'GATE' and t.admitted_at is not null",
        );
        let mut zone = String::new();
        for row in rows.lines() {
            let row: Vec<&str> = row.split('|').collect();
            let at = row[3].parse::<jiff::Timestamp>().unwrap().as_millisecond();
            zone = row[0].to_string();
            let before = gate.admitted.insert((row[1].parse().unwrap(), row[2].parse().unwrap()), at);
            assert!(before.is_none_or(|before| before == at), "{row:?} was let in twice");
        }
        for (ticket, at) in self.books().entered.drain() {
            let mut parts = ticket.split('-').skip(1).map(|part| part.parse::<u32>().unwrap());
            let place = (parts.next().unwrap(), parts.next().unwrap());
            assert_eq!(gate.admitted.get(&place), Some(&at), "{ticket} of zone {zone} was told to be in");
        }
        let mut times: Vec<i64> = gate.admitted.values().copied().collect();
        times.sort_unstable();
        for pair in times.windows(GATE_LIMIT + 1) {
            assert!(pair[GATE_LIMIT] - pair[0] >= GATE_WINDOW_MS, "{} entered within {} ms", pair.len(), pair[GATE_LIMIT] - pair[0]);
        }
    }

    /// What was made is there, what was deleted is not, what was edited is as it was told.
    async fn check_made(&self, server: &Server) -> Result<(), Gone> {
        let live = |statement: &str| server.sql(statement).lines().map(str::to_string).collect::<HashSet<_>>();
        let (status, listed) = self.ask(As::Service, Method::GET, "/admin/api/pass-keys", None).await?;
        assert_eq!(status, StatusCode::OK, "{listed}");
        let kids = listed["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_string()).collect();
        let mut books = self.books();
        let books = &mut *books;
        for (what, made, there) in [
            ("offer", &mut books.offers, live("select id from offers where deleted_at is null")),
            ("zone", &mut books.zones, live("select id from zones where deleted_at is null")),
            ("key", &mut books.keys, live("select id from admins where revoked_at is null")),
            ("account", &mut books.accounts, live("select name from accounts")),
            ("pass key", &mut books.pass_keys, kids),
        ] {
            for (name, made) in made.iter_mut() {
                match made {
                    Made::There => assert!(there.contains(name), "the {what} {name} was made and is not there"),
                    Made::Gone => assert!(!there.contains(name), "the {what} {name} was deleted and is back"),
                    Made::Leaving if there.contains(name) => {}
                    Made::Leaving => *made = Made::Gone,
                }
            }
            // Checked to be gone; ids of what is gone are many.
            made.retain(|_, made| *made != Made::Gone);
        }
        let resets = server.sql("select epoch - 1 from zones where id = 'GATE'").parse::<u64>().unwrap();
        assert!(resets >= books.resets, "{} resets were told, {resets} are known", books.resets);
        let name = server.sql("select name from offers where id = 'named'");
        assert!(Some(&name) == books.name.as_ref() || Some(&name) == books.naming.as_ref(), "{name} {:?} {:?}", books.name, books.naming);
        books.name = Some(name);
        books.naming = None;
        Ok(())
    }

    /// A sample of keys, and every claim whose answer was lost, is asked for again.
    async fn check_keys_answer_the_same(&self, random: &mut Random) -> Result<(), Gone> {
        let unsure = std::mem::take(&mut self.books().unsure);
        for asked in unsure {
            // Its fate is settled by this answer, whatever that is.
            if let Claimed::New(id) = self.claim(&asked).await? {
                self.books().loose.push(id);
            }
        }
        for _ in 0..8 {
            let told = sample(&self.books(), random);
            let Some((id, user, asked)) = told else { return Ok(()) };
            if let Some(asked) = asked {
                match self.claim(&asked).await? {
                    Claimed::Same => {}
                    Claimed::Failed => return Err(Gone),
                    other => panic!("the key of {id} answers {other:?}"),
                }
            }
            let (status, read) = self.ask(As::User(&user), Method::GET, &format!("/v1/claims/{id}"), None).await?;
            assert_eq!((status, read["id"].as_str()), (StatusCode::OK, Some(id.as_str())), "{read}");
            let books = self.books();
            let told = &books.claims[&id];
            assert!(told.may_be(read["status"].as_str().unwrap()), "{read} {told:?}");
            assert!(told.granted.as_ref().is_none_or(|granted| *granted == read["granted"]), "{read} {told:?}");
        }
        Ok(())
    }

    /// The engine's numbers are SQL's, and add up.
    async fn check_offers(&self, server: &Server) -> Result<(), Gone> {
        // Those without short holds: nothing happens to them by itself between the two looks.
        for offer in ["drop", "stay", "thanks", "coupon"] {
            let (status, shown) = self.ask(As::Anyone, Method::GET, &format!("/v1/offers/{offer}"), None).await?;
            assert_eq!(status, StatusCode::OK, "{shown}");
            let number = |field: &str| shown[field].as_u64().unwrap();
            assert_eq!(number("remaining") + number("held") + number("confirmed"), number("quantity"), "{shown}");
            self.until_projected().await?;
            let counted = server.sql(&format!(
                "select coalesce(sum(quantity), 0) from claims where offer_id = '{offer}' and status in ('held', 'confirmed')"
            ));
            assert_eq!(counted, (number("held") + number("confirmed")).to_string(), "{shown}");
        }
        Ok(())
    }

    /// Those who wait come back in a scrambled order. Whether the line still listened when the last of them did.
    async fn hear_queue(&self, random: &mut Random) -> Result<bool, Gone> {
        let mut scrambled = self.books().queue.clone();
        for at in (1..scrambled.len()).rev() {
            scrambled.swap(at, random.below(at as u64 + 1) as usize);
        }
        let mut listened = true;
        for who in &scrambled {
            let (status, answer) = self.poll_queue(&who.token).await?;
            if status == StatusCode::GONE {
                assert!(who.leaving, "a place in line was lost");
                self.books().queue.retain(|other| other.token != who.token);
            } else {
                listened &= answer["waiting"]["state"] == "recovering";
            }
        }
        Ok(listened)
    }

    /// When the line has listened, all have the ranks of their order. Who comes later has at most that rank, since a rank that was
    /// told never rises.
    async fn check_ranks(&self, heard: bool) -> Result<(), Gone> {
        let queue = self.books().queue.clone();
        let began = Instant::now();
        while self.ask(As::Anyone, Method::GET, "/zones/QUEUE/status", None).await?.1["state"] == "recovering" {
            assert!(began.elapsed() < Duration::from_secs(60), "the line listens for ever");
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        for (place, who) in queue.iter().enumerate() {
            let (status, answer) = self.poll_queue(&who.token).await?;
            let (rank, expected) = (answer["waiting"]["rank"].as_u64().unwrap_or_default(), place as u64 + 1);
            assert_eq!(status, StatusCode::OK, "{answer}");
            assert!(rank == expected || !heard && (1..expected).contains(&rank), "number {expected} has rank {rank}");
        }
        let mut books = self.books();
        books.queue.iter_mut().for_each(|who| who.leaving = false);
        books.ranked += u64::from(heard);
        Ok(())
    }

    pub async fn poll_queue(&self, token: &str) -> Result<(StatusCode, Value), Gone> {
        self.ask(As::Anyone, Method::POST, "/traffic/entry", Some(json!({"zoneId": "QUEUE", "token": token}))).await
    }

    /// A confirmed booking has a coupon, unless all were given by then: counted at each one's own place in the journal.
    fn check_grants(&self, server: &Server) {
        let numbers = |statement: &str| -> Vec<i64> { server.sql(statement).lines().map(|line| line.parse().unwrap()).collect() };
        let without = numbers(
            "select e.journal_offset from claims c join claim_events e on e.claim_id = c.id and e.status = 'confirmed'
             where c.offer_id = 'stay' and c.granted is null",
        );
        let given =
            numbers("select journal_offset from claim_events where offer_id = 'thanks' and status = 'confirmed' order by journal_offset");
        let restocks = server.sql(
            "select journal_offset, json_extract(detail, '$.body.delta') from audit_log
             where target = 'thanks' and action = 'offer.restock' order by journal_offset",
        );
        let restocks: Vec<(i64, i64)> = restocks
            .lines()
            .filter_map(|line| line.split_once('|'))
            .map(|(at, delta)| (at.parse().unwrap(), delta.parse().unwrap()))
            .collect();
        for at in without {
            let quantity = THANKS_AT_FIRST + restocks.iter().filter(|(offset, _)| *offset < at).map(|(_, delta)| delta).sum::<i64>();
            let taken = given.partition_point(|offset| *offset < at) as i64;
            assert_eq!(taken, quantity, "the booking confirmed at {at} has no coupon, and there were some");
        }
    }

    async fn check_reconciled(&self) -> Result<(), Gone> {
        let (status, report) = self.ask(As::Service, Method::POST, "/admin/api/reconcile?repair=false", Some(json!({}))).await?;
        assert_eq!((status, report["equal"].as_bool()), (StatusCode::OK, Some(true)), "{report}");
        Ok(())
    }
}

/// Coupons before anybody restocked.
pub const THANKS_AT_FIRST: i64 = 12;

type Sampled = (String, String, Option<super::books::Asked>);

fn sample(books: &Books, random: &mut Random) -> Option<Sampled> {
    let count = books.claims.len() as u64;
    if count == 0 {
        return None;
    }
    let (id, told) = books.claims.iter().nth(random.below(count) as usize)?;
    Some((id.clone(), told.user.clone(), told.asked.clone()))
}
