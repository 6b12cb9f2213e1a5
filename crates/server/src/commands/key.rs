//! `bunho key …`: keys, straight in the ledger. A running server notices new ones by itself.

use crate::cli::KeyCommand;
use crate::exit::Failure;
use crate::http::time::Rfc3339;
use crate::node::prepare;
use crate::pass::Passes;
use crate::secrets::{self, Terms, tickets};
use crate::tls::Required;
use bunho_domain::time::Millis;
use bunho_ledger::Ledger;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

const ROLES: [&str; 4] = ["service", "viewer", "operator", "admin"];

/// Of 24 hours.
const DAY_MS: i64 = 86_400_000;

/// Makes or lists keys.
///
/// # Errors
/// There is no such role, or the ledger cannot be used.
pub fn run(command: KeyCommand) -> Result<ExitCode, Failure> {
    super::log_warnings();
    match command {
        KeyCommand::New { place, role, name, expires_in_days, certificate } => {
            if !ROLES.contains(&role.as_str()) {
                return Err(Failure::configuration(format_args!("--role {role} refused\n  mend: use one of {}", ROLES.join(", "))));
            }
            let certificate = match certificate.as_deref().map(Required::parse) {
                Some(_) if role != "service" => Err("only keys of services are bound to certificates"),
                Some(None) => Err("use sha256: and 64 digits, or a name of the certificate as dns:, uri: or email:"),
                given => Ok(given.flatten()),
            };
            let certificate = certificate.map_err(|mend| Failure::configuration(format_args!("--certificate refused\n  mend: {mend}")))?;
            let expires_at = expires_in_days.map(|days| now().plus_ms(i64::from(days) * DAY_MS));
            let config = super::checked(&place)?;
            super::block_on(async {
                prepare(&config.data)?;
                let ledger = Ledger::open(&config.ledger).await?;
                let key = secrets::new_key()?;
                let terms = Terms { expires_at, certificate: certificate.as_ref().map(Required::as_str) };
                let id = secrets::add_key(&ledger, &role, &name, &key, now(), terms).await?;
                ledger.close().await;
                println!("{}", serde_json::json!({ "id": id, "role": role, "name": name, "key": key }));
                Ok(ExitCode::SUCCESS)
            })
        }
        KeyCommand::Rotate { place, tickets, passes } => {
            let config = super::checked(&place)?;
            if tickets {
                let made = tickets::rotate(&config.secrets)?;
                println!("{}", serde_json::json!({ "tickets": made.id, "signs_from": Rfc3339(made.signs_from()).to_string() }));
            }
            if passes {
                let all = Passes::load(&config.secrets, &config.pass_issuer)?.publishing_for(config.pass_key_published);
                let kid = all.rotate()?;
                let from = all.shown(now()).into_iter().find(|key| key.kid == kid).map(|key| Rfc3339(key.signs_from).to_string());
                println!("{}", serde_json::json!({ "passes": kid, "signs_from": from }));
            }
            Ok(ExitCode::SUCCESS)
        }
        KeyCommand::List { place } => {
            let config = super::checked(&place)?;
            super::block_on(async {
                let ledger = Ledger::open(&config.ledger).await?;
                for row in ledger.keys().await? {
                    let until = row.expires_at.map(|at| format!("  until {}", Rfc3339(at))).unwrap_or_default();
                    let with = row.certificate.map(|certificate| format!("  with {certificate}")).unwrap_or_default();
                    println!("{}  {:8}  {}{until}{with}", row.id, row.role, row.name);
                }
                ledger.close().await;
                Ok(ExitCode::SUCCESS)
            })
        }
    }
}

/// The system's time.
pub(super) fn now() -> Millis {
    Millis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}
