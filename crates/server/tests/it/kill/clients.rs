//! Who uses the server while it is killed: buyers, people on standby, and (in `line`) people in line. Each goes on until the server is gone or
//! `stop` is set, and enters into the books what was tried before it is tried, and what was told after it was told.

use super::books::{Act, Asked, Books, Place};
use crate::harness::{ADMIN_KEY, Random, read};
use bunho_domain::ticket::TicketKey;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The server died, or cannot be reached: the end of whatever one was doing.
#[derive(Debug)]
pub struct Gone;

/// What became of a claim that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is there, and was not known before.
    New(String),
    /// It is the one that was told before.
    Same,
    /// Sold out, or beyond the limit.
    Refused,
    /// 503.
    Failed,
}

/// A caller.
#[derive(Clone)]
pub struct Caller {
    pub url: String,
    pub client: Client,
    pub books: Arc<Mutex<Books>>,
    pub stop: Arc<AtomicBool>,
    pub ticket_key: Arc<TicketKey>,
}

/// As whom one calls.
#[derive(Clone, Copy)]
pub enum As<'a> {
    Anyone,
    User(&'a str),
    Service,
}

impl Caller {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub async fn call(&self, who: As<'_>, method: Method, path: &str, body: Option<Value>) -> Result<(StatusCode, Value), Gone> {
        self.call_with(who, method, path, body, None).await
    }

    async fn call_with(
        &self,
        who: As<'_>,
        method: Method,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> Result<(StatusCode, Value), Gone> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        request = match who {
            As::Anyone => request,
            As::User(user) => request.header("x-bunho-user", user),
            As::Service => request.bearer_auth(ADMIN_KEY),
        };
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.map_err(|_| Gone)?;
        // Its head arrived and its body did not: that is no answer.
        let status = response.status();
        let bytes = response.bytes().await.map_err(|_| Gone)?;
        let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
        assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "{path}: {value}");
        self.books().answers += 1;
        Ok((status, value))
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Everybody at once.
    pub fn crowd(&self, random: &mut Random) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        for task in 0..11 {
            let (caller, mut random) = (self.clone(), random.fork());
            tasks.push(tokio::spawn(async move {
                while caller.goes_on() {
                    let done = match task {
                        0..5 => caller.buy(&mut random).await,
                        5 | 6 => caller.stand_by(&mut random).await,
                        7 => caller.mind_loose(&mut random).await,
                        8 | 9 => caller.go_through_the_gate(&mut random).await,
                        _ => caller.queue(&mut random).await,
                    };
                    if done.is_err() {
                        return;
                    }
                }
            }));
        }
        tasks
    }

    /// Claims with a key.
    pub async fn claim(&self, asked: &Asked) -> Result<Claimed, Gone> {
        let body = json!({"quantity": asked.quantity, "attributes": {"of": asked.user}});
        let path = format!("/v1/offers/{}/claims", asked.offer);
        let answered = self.call_with(As::User(&asked.user), Method::POST, &path, Some(body), Some(&asked.key)).await;
        let mut books = self.books();
        match answered {
            Ok((StatusCode::CREATED, answer)) => match books.claims.get(answer["id"].as_str().unwrap()) {
                Some(told) => {
                    assert_eq!(told.answer, answer, "the same key gives the same answer");
                    books.replays += 1;
                    Ok(Claimed::Same)
                }
                None => Ok(Claimed::New(books.told(Some(asked), answer))),
            },
            Ok((StatusCode::CONFLICT, _)) => Ok(Claimed::Refused),
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => Ok(Claimed::Failed),
            Ok((status, answer)) => panic!("{status} {answer}"),
            Err(Gone) => {
                books.unsure.push(asked.clone());
                Err(Gone)
            }
        }
    }

    async fn buy(&self, random: &mut Random) -> Result<(), Gone> {
        let offer = ["drop", "drop", "flash", "stay", "stay", "coupon"][random.below(6) as usize];
        let asked = {
            let mut books = self.books();
            let (user, quantity) = (books.new_user(), if offer == "drop" { 1 + random.below(2) } else { 1 });
            Asked { offer, key: format!("k-{user}"), user, quantity }
        };
        let id = match self.claim(&asked).await? {
            Claimed::New(id) => id,
            Claimed::Same => panic!("{asked:?} was never asked for"),
            Claimed::Refused => return self.rest().await,
            Claimed::Failed => {
                self.books().failed.push(asked);
                return self.rest().await;
            }
        };
        if random.below(8) == 0 {
            self.claim(&asked).await?;
        }
        match random.below(10) {
            _ if offer == "coupon" => {}
            // Nobody comes back to these: their holds end by themselves.
            0..4 if offer == "flash" => {}
            0 | 1 => self.books().loose.push(id),
            2 | 3 => self.act(&id, Act::Release).await?,
            _ => self.act(&id, Act::Confirm).await?,
        }
        self.rest().await
    }

    /// A long history is the aim, not a large one: every restart reads it.
    async fn rest(&self) -> Result<(), Gone> {
        tokio::time::sleep(Duration::from_millis(12)).await;
        Ok(())
    }

    /// Does something to a claim. Without an answer it is left for somebody to try again.
    pub async fn act(&self, id: &str, act: Act) -> Result<(), Gone> {
        let user = {
            let mut books = self.books();
            books.try_to(id, act);
            books.claims[id].user.clone()
        };
        let path = format!("/v1/claims/{id}");
        let answered = match act {
            Act::Confirm => self.call(As::Service, Method::POST, &format!("{path}/confirm"), Some(json!({}))).await,
            Act::Release => self.call(As::User(&user), Method::POST, &format!("{path}/release"), Some(json!({}))).await,
            Act::Return => {
                let body = json!({"restock": !user.ends_with('7')});
                self.call(As::Service, Method::POST, &format!("/admin/api/claims/{id}/return"), Some(body)).await
            }
        };
        let mut books = self.books();
        match answered {
            Ok((StatusCode::OK, claim)) => {
                let status = claim["status"].as_str().unwrap();
                books.became(id, status);
                if act == Act::Confirm {
                    let granted = books.claims[id].granted.clone().unwrap_or_else(|| claim["granted"].clone());
                    assert_eq!(granted, claim["granted"], "confirming again gives the same");
                    books.claims.get_mut(id).unwrap().granted = Some(granted);
                }
                Ok(())
            }
            Ok((StatusCode::CONFLICT, problem)) => {
                let status = if problem["code"] == "deadline_passed" { Some("expired") } else { problem["claim_status"].as_str() };
                let status = status.unwrap_or_else(|| panic!("{problem}")).to_string();
                assert!(books.claims[id].may_be(&status), "{problem} {:?}", books.claims[id]);
                books.became(id, &status);
                Ok(())
            }
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(Gone) => {
                if act == Act::Return {
                    books.confirmed.push(id.to_string())
                } else {
                    books.loose.push(id.to_string())
                }
                if answered.is_err() { Err(Gone) } else { Ok(()) }
            }
            Ok((status, answer)) => panic!("{act:?} {id}: {status} {answer}"),
        }
    }

    /// What was left lying, before a kill too, is tried again: a repetition completes it, once.
    async fn mind_loose(&self, random: &mut Random) -> Result<(), Gone> {
        let loose = {
            let mut books = self.books();
            let count = books.loose.len() as u64;
            (count > 0).then(|| books.loose.swap_remove(random.below(count) as usize))
        };
        let Some(id) = loose else { return self.rest().await };
        let tried = self.books().claims[&id].tried.iter().next_back().copied();
        let act = tried.unwrap_or(if random.below(3) == 0 { Act::Release } else { Act::Confirm });
        self.act(&id, act).await
    }

    async fn stand_by(&self, random: &mut Random) -> Result<(), Gone> {
        let waiting = {
            let mut books = self.books();
            let count = books.waiting.len() as u64;
            // Mostly those who wait ask; a few are new.
            (count > 12 || count > 0 && random.below(3) > 0).then(|| books.waiting.swap_remove(random.below(count) as usize))
        };
        let id = match waiting {
            Some(id) => id,
            None => {
                let user = self.books().new_user();
                let body = json!({"quantity": 1 + random.below(8) / 7});
                let (status, place) = self.call(As::User(&user), Method::POST, "/v1/offers/seats/standby", Some(body)).await?;
                if status != StatusCode::CREATED {
                    assert!(matches!(status.as_u16(), 400 | 503), "{status} {place}");
                    return self.rest().await;
                }
                let id = place["id"].as_str().unwrap().to_string();
                let entry = Place { user, status: place["status"].as_str().unwrap().to_string(), leaving: false };
                assert!(self.books().places.insert(id.clone(), entry).is_none(), "{id} was given twice");
                id
            }
        };
        let (user, leaving) = {
            let books = self.books();
            (books.places[&id].user.clone(), books.places[&id].leaving)
        };
        let leaves = leaving || random.below(12) == 0;
        if leaves {
            self.books().places.get_mut(&id).unwrap().leaving = true;
        }
        let asked = self.ask_place(&id, &user, leaves).await;
        match asked {
            Ok(Some(claim)) => return self.served(&claim, random).await,
            Ok(None) => {}
            Err(Gone) => {
                self.books().waiting.push(id);
                return Err(Gone);
            }
        }
        tokio::time::sleep(Duration::from_millis(8)).await;
        Ok(())
    }

    /// Reads or gives up a place; the claim where it was served.
    async fn ask_place(&self, id: &str, user: &str, leaves: bool) -> Result<Option<String>, Gone> {
        if leaves {
            let (status, answer) = self.call(As::User(user), Method::DELETE, &format!("/v1/standby/{id}"), None).await?;
            let mut books = self.books();
            match status {
                // It may have been served before; then there was nothing to give up.
                StatusCode::NO_CONTENT => books.places.get_mut(id).unwrap().status = "left or served".into(),
                StatusCode::SERVICE_UNAVAILABLE => books.waiting.push(id.to_string()),
                _ => panic!("{status} {answer}"),
            }
            return Ok(None);
        }
        let (status, place) = self.call(As::User(user), Method::GET, &format!("/v1/standby/{id}"), None).await?;
        let mut books = self.books();
        if status != StatusCode::OK {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "a place that was given is there: {place}");
            books.waiting.push(id.to_string());
            return Ok(None);
        }
        let now = place["status"].as_str().unwrap();
        if now == "waiting" {
            assert!(place["position"].as_u64().unwrap() >= 1, "{place}");
            books.waiting.push(id.to_string());
        }
        books.places.get_mut(id).unwrap().status = now.to_string();
        Ok(place["claim"].as_str().map(str::to_string))
    }

    /// Standby brought a claim.
    async fn served(&self, claim: &str, random: &mut Random) -> Result<(), Gone> {
        let (status, answer) = self.call(As::Service, Method::GET, &format!("/v1/claims/{claim}"), None).await?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(());
        }
        assert_eq!(status, StatusCode::OK, "{answer}");
        let id = self.books().told(None, answer);
        match random.below(4) {
            0 => self.books().loose.push(id),
            1 => self.act(&id, Act::Release).await?,
            _ => self.act(&id, Act::Confirm).await?,
        }
        Ok(())
    }
}

/// For what is asked outside the crowd.
pub async fn answer_of(request: reqwest::RequestBuilder) -> Option<(StatusCode, Value)> {
    Some(read(request.send().await.ok()?).await)
}
