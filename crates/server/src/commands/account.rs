//! `bunho account …`: accounts, straight in the ledger. Whoever gets one can sign in to a running server at once.

use crate::auth::accounts::{is_name, role as known_role};
use crate::auth::passwords;
use crate::cli::AccountCommand;
use crate::exit::Failure;
use crate::node::prepare;
use bunho_journal::Audit;
use bunho_ledger::{AccountRow, Ledger};
use std::process::ExitCode;

/// Makes or lists accounts.
///
/// # Errors
/// There is no such role, the name cannot be one or is taken, or the ledger cannot be used.
pub fn run(command: AccountCommand) -> Result<ExitCode, Failure> {
    super::log_warnings();
    match command {
        AccountCommand::New { place, name, role } => {
            if known_role(&role).is_none() {
                return Err(Failure::configuration(format_args!("--role {role} refused\n  mend: use viewer, operator or admin")));
            }
            if !is_name(&name) {
                return Err(Failure::configuration(format_args!(
                    "{name:?} is no name of an account\n  mend: use 1 to 64 letters, digits or any of . _ @ + -, all of them ASCII"
                )));
            }
            let config = super::checked(&place)?;
            super::block_on(async {
                prepare(&config.data)?;
                let ledger = Ledger::open(&config.ledger).await?;
                let password = passwords::new_password().map_err(Failure::internal)?;
                let made = make(&ledger, &name, &role, &password).await;
                ledger.close().await;
                made?;
                println!("{}", serde_json::json!({ "name": name, "role": role, "password": password }));
                Ok(ExitCode::SUCCESS)
            })
        }
        AccountCommand::List { place } => {
            let config = super::checked(&place)?;
            super::block_on(async {
                let ledger = Ledger::open(&config.ledger).await?;
                for row in ledger.accounts().await? {
                    let codes = if row.totp_secret.is_some() { "  codes" } else { "" };
                    let disabled = if row.disabled { "  disabled" } else { "" };
                    println!("{:8}  {}{codes}{disabled}", row.role, row.name);
                }
                ledger.close().await;
                Ok(ExitCode::SUCCESS)
            })
        }
    }
}

async fn make(ledger: &Ledger, name: &str, role: &str, password: &str) -> Result<(), Failure> {
    let now = super::key::now();
    let row = AccountRow {
        name: name.to_owned(),
        role: role.to_owned(),
        password_hash: passwords::hash(password).map_err(Failure::internal)?,
        totp_secret: None,
        totp_pending: None,
        totp_step: 0,
        disabled: false,
        created_at: now,
        last_signed_in_at: None,
    };
    let audit = Audit { actor: "system".into(), action: "account.new".into(), target: name.to_owned(), detail: None, request_id: None };
    if ledger.insert_account(&row, now, &audit).await? {
        Ok(())
    } else {
        Err(Failure::data(format_args!(
            "there is an account {name} already\n  mend: choose another name, or change that one in the console"
        )))
    }
}
