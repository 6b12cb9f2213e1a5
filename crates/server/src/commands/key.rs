//! `bunho key …`: keys, straight in the ledger. A running server notices new ones by itself.

use crate::cli::KeyCommand;
use crate::exit::Failure;
use crate::node::prepare;
use crate::secrets;
use bunho_domain::time::Millis;
use bunho_ledger::Ledger;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

const ROLES: [&str; 4] = ["service", "viewer", "operator", "admin"];

/// Makes or lists keys.
///
/// # Errors
/// There is no such role, or the ledger cannot be used.
pub fn run(command: KeyCommand) -> Result<ExitCode, Failure> {
    super::log_warnings();
    match command {
        KeyCommand::New { place, role, name } => {
            if !ROLES.contains(&role.as_str()) {
                return Err(Failure::configuration(format_args!("--role {role} refused\n  mend: use one of {}", ROLES.join(", "))));
            }
            let config = super::checked(&place)?;
            super::block_on(async {
                prepare(&config.data)?;
                let ledger = Ledger::open(&config.ledger).await?;
                let key = secrets::new_key()?;
                let id = secrets::add_key(&ledger, &role, &name, &key, now()).await?;
                ledger.close().await;
                println!("{}", serde_json::json!({ "id": id, "role": role, "name": name, "key": key }));
                Ok(ExitCode::SUCCESS)
            })
        }
        KeyCommand::List { place } => {
            let config = super::checked(&place)?;
            super::block_on(async {
                let ledger = Ledger::open(&config.ledger).await?;
                for row in ledger.keys().await? {
                    println!("{}  {:8}  {}", row.id, row.role, row.name);
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
