//! The merge of two lists that are ordered by id. Pure.

use super::Example;
use bunho_domain::claim::Claim;
use bunho_domain::ids::ClaimId;
use std::cmp::Ordering;

/// One claim that is not the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference<'a> {
    MissingInLedger(&'a Claim),
    MissingInEngine(&'a Claim),
    Different { engine: &'a Claim, ledger: &'a Claim },
}

impl<'a> Difference<'a> {
    pub(super) fn id(&self) -> ClaimId {
        match self {
            Self::MissingInLedger(claim) | Self::MissingInEngine(claim) | Self::Different { engine: claim, .. } => claim.id,
        }
    }

    /// The engine's side.
    pub(super) fn engine(&self) -> Option<&'a Claim> {
        match self {
            Self::MissingInLedger(claim) | Self::Different { engine: claim, .. } => Some(claim),
            Self::MissingInEngine(_) => None,
        }
    }

    /// The ledger's side.
    pub(super) fn ledger(&self) -> Option<&'a Claim> {
        match self {
            Self::MissingInEngine(claim) | Self::Different { ledger: claim, .. } => Some(claim),
            Self::MissingInLedger(_) => None,
        }
    }

    /// Whether the ledger's state follows the engine's, as it also does where the engine was read before it came to that state.
    pub(super) fn is_ledger_newer(&self) -> bool {
        self.ledger().is_some_and(|ledger| self.engine().is_none_or(|engine| engine.version < ledger.version))
    }

    pub(super) fn example(&self) -> Example {
        let short = |claim: &Claim| (claim.status, claim.version);
        Example { claim: self.id(), engine: self.engine().map(short), ledger: self.ledger().map(short) }
    }
}

/// What differs, in the order of ids.
pub(super) fn differences<'a>(engine: &'a [Claim], ledger: &'a [Claim]) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    let (mut left, mut right) = (engine.iter().peekable(), ledger.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(engine), Some(ledger)) => engine.id.cmp(&ledger.id),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return found,
        };
        let engine = if order.is_le() { left.next() } else { None };
        let ledger = if order.is_ge() { right.next() } else { None };
        match (engine, ledger) {
            (Some(engine), Some(ledger)) if engine == ledger => {}
            (Some(engine), Some(ledger)) => found.push(Difference::Different { engine, ledger }),
            (Some(engine), None) => found.push(Difference::MissingInLedger(engine)),
            (None, Some(ledger)) => found.push(Difference::MissingInEngine(ledger)),
            (None, None) => {}
        }
    }
}

/// How many claims both sides have.
pub(super) fn shared(engine: &[Claim], ledger: &[Claim]) -> u64 {
    engine.iter().filter(|claim| ledger.binary_search_by_key(&claim.id, |other| other.id).is_ok()).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunho_domain::claim::Status;
    use bunho_domain::ids::UserId;
    use bunho_domain::time::Millis;

    fn claim(seq: u32, version: u32) -> Claim {
        let user = UserId::parse("u").expect("a user");
        Claim {
            id: ClaimId::new(1, seq, 0),
            user,
            quantity: 1,
            status: Status::Held,
            version,
            key: None,
            attributes: None,
            created_at: Millis(0),
            updated_at: Millis(0),
            hold_expires_at: None,
            ordinal: None,
            granted: None,
        }
    }

    /// Merges the two sides, each `(seq, version)`, and says of each difference which sides have it.
    fn check(engine: &[(u32, u32)], ledger: &[(u32, u32)], expected: &[(u32, &str)]) {
        let side = |list: &[(u32, u32)]| list.iter().map(|&(seq, version)| claim(seq, version)).collect::<Vec<_>>();
        let (engine, ledger) = (side(engine), side(ledger));
        let found: Vec<(u32, &str)> = differences(&engine, &ledger)
            .iter()
            .map(|difference| match difference {
                Difference::MissingInLedger(claim) => (claim.id.seq(), "engine"),
                Difference::MissingInEngine(claim) => (claim.id.seq(), "ledger"),
                Difference::Different { engine, .. } => (engine.id.seq(), "both"),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn two_sides_are_merged() {
        check(&[], &[], &[]);
        check(&[(0, 1), (1, 2)], &[(0, 1), (1, 2)], &[]);
        check(&[(0, 1), (2, 1)], &[(1, 1), (2, 2)], &[(0, "engine"), (1, "ledger"), (2, "both")]);
        check(&[], &[(5, 1)], &[(5, "ledger")]);
        check(&[(5, 1), (6, 1)], &[(6, 1)], &[(5, "engine")]);
        assert_eq!(shared(&[claim(0, 1), claim(2, 1)], &[claim(1, 1), claim(2, 7)]), 1);
    }
}
