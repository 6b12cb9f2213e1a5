//! People in line, who ask when they are told to.

use super::books::Entered;
use super::load::{As, Ask, LINE, Load};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Who is answered so much later than somebody could be has not asked as told: its node hung, or this machine did.
const LATE: Duration = Duration::from_secs(1);

impl Load {
    /// Joins, asks as told until it is let in, or until everything ends.
    pub async fn wait_in_line(&self) {
        let user = self.books().new_user();
        let at_line =
            |path: &str, body| Ask { kind: LINE, who: As::Anyone, method: Method::POST, path: path.into(), body: Some(body), key: None };
        let join = json!({"zoneId": "LINE", "clientIp": "127.0.0.1", "clientAgent": "WEB", "key": user});
        let (status, mut answer) = self.ask(&at_line("/traffic/wait", join)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let token = answer["token"].as_str().unwrap().to_owned();
        let poll = json!({"zoneId": "LINE", "token": token});
        let mut as_told = true;
        while answer["canEnter"] != true {
            if !self.goes_on() {
                self.ask(&at_line("/traffic/leave", poll)).await;
                return;
            }
            let period = Duration::from_millis(answer["waiting"]["pollingPeriod"].as_u64().unwrap());
            let due = Instant::now() + period;
            tokio::time::sleep(period).await;
            as_told &= due.elapsed() < LATE;
            let (status, polled) = self.ask(&at_line("/traffic/entry", poll.clone())).await;
            let could = self.first_answer(LINE, due).unwrap_or(due);
            as_told &= could.elapsed() < LATE;
            match status {
                StatusCode::OK => answer = polled,
                // Two tries of one poll, of which the first was not answered.
                StatusCode::TOO_MANY_REQUESTS => {}
                StatusCode::GONE if !as_told => return,
                _ => panic!("{status} {polled}: as told {as_told}"),
            }
        }
        self.enter(&answer, as_told);
    }

    /// The pass names the ticket and says when.
    fn enter(&self, answer: &Value, as_told: bool) {
        let claims = answer["pass"].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let (name, id) = (claims["sub"].as_str().unwrap(), claims["jti"].as_str().unwrap());
        let at_ms = id.strip_prefix(name).unwrap().trim_start_matches('-').parse().unwrap();
        let parts: Vec<u32> = name.split('-').map(|part| part.parse().unwrap()).collect();
        let who = Entered { ticket: (parts[0], parts[1], parts[2]), at_ms, as_told };
        let mut books = self.books();
        let before = books.entered.insert(name.to_owned(), who);
        assert!(before.is_none(), "the place {name} was given to two");
        books.last_entered = Some(Instant::now());
    }
}
