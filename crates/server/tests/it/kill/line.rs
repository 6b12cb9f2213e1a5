//! People in line while the server is killed: some go through the gate, whose limit is checked; some wait in the queue, whose
//! order is.

use super::books::Waiting;
use super::clients::{As, Caller, Gone};
use crate::harness::Random;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bunho_domain::ids::ZoneId;
use bunho_domain::ticket::Ticket;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// People in the line whose order is checked.
const QUEUE_PEOPLE: usize = 20;
/// People who wait at the gate at most.
const GATE_PEOPLE: usize = 12;

impl Caller {
    /// Joins the gate or polls there, and leaves now and then.
    pub async fn go_through_the_gate(&self, random: &mut Random) -> Result<(), Gone> {
        let mine = {
            let mut books = self.books();
            let count = books.gate.len() as u64;
            (count as usize >= GATE_PEOPLE || count > 0 && random.below(4) > 0)
                .then(|| books.gate.swap_remove(random.below(count) as usize))
        };
        let joins = mine.is_none();
        let (status, answer) = match &mine {
            None => {
                let mut body = json!({"zoneId": "GATE", "clientIp": "127.0.0.1", "clientAgent": "WEB"});
                if random.below(2) == 0 {
                    let user = self.books().new_user();
                    body["key"] = user.into();
                }
                self.call(As::Anyone, Method::POST, "/traffic/wait", Some(body)).await?
            }
            Some(token) => {
                let body = json!({"zoneId": "GATE", "token": token});
                if random.below(25) == 0 {
                    self.call(As::Anyone, Method::POST, "/traffic/leave", Some(body)).await?;
                    return Ok(());
                }
                self.call(As::Anyone, Method::POST, "/traffic/entry", Some(body)).await?
            }
        };
        match status {
            StatusCode::OK => {
                let token = answer["token"].as_str().unwrap().to_string();
                if joins {
                    self.number(&token, "GATE");
                }
                if answer["canEnter"] == true { self.entered(&answer) } else { self.books().gate.push(token) }
            }
            // A reset ended it, or it was silent for too long while the server was dead.
            StatusCode::GONE if !joins => {}
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => self.books().gate.extend(mine),
            _ => panic!("{status} {answer}"),
        }
        tokio::time::sleep(Duration::from_millis(6)).await;
        Ok(())
    }

    /// No place in line is given to two.
    fn number(&self, token: &str, zone: &str) {
        let ticket = Ticket::decode(token, &self.ticket_key, &ZoneId::parse(zone).unwrap()).unwrap();
        let place = (ticket.zone_number, ticket.number.epoch, ticket.number.seq);
        let before = self.books().numbers.insert(place, token.to_string());
        assert!(before.is_none(), "the place {place:?} was given to two");
    }

    /// Somebody is in: the pass names the ticket and says when.
    fn entered(&self, answer: &Value) {
        let claims = answer["pass"].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let (ticket, id) = (claims["sub"].as_str().unwrap(), claims["jti"].as_str().unwrap());
        let at = id.strip_prefix(ticket).unwrap().trim_start_matches('-').parse::<i64>().unwrap();
        let before = self.books().entered.insert(ticket.to_string(), at);
        assert!(before.is_none_or(|before| before == at), "{ticket} was let in twice");
    }

    /// One after another joins the line whose order is checked; now and then one leaves.
    pub async fn queue(&self, random: &mut Random) -> Result<(), Gone> {
        let waiting = self.books().queue.len();
        if waiting < QUEUE_PEOPLE {
            let body = json!({"zoneId": "QUEUE", "clientIp": "127.0.0.1", "clientAgent": "WEB"});
            let (status, answer) = self.call(As::Anyone, Method::POST, "/traffic/wait", Some(body)).await?;
            if status == StatusCode::OK {
                let token = answer["token"].as_str().unwrap().to_string();
                self.number(&token, "QUEUE");
                self.books().queue.push(Waiting { token, leaving: false });
            }
        } else if random.below(10) == 0 {
            let token = {
                let mut books = self.books();
                let who = &mut books.queue[random.below(waiting as u64) as usize];
                who.leaving = true;
                who.token.clone()
            };
            let body = json!({"zoneId": "QUEUE", "token": token});
            if self.call(As::Anyone, Method::POST, "/traffic/leave", Some(body)).await?.0 == StatusCode::NO_CONTENT {
                self.books().queue.retain(|who| who.token != token);
            }
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
        Ok(())
    }
}
