//! The words that stand in SQL columns for the domain's enums. They are a contract with whoever reads the tables
//! (api.md §7), so they are spelled out here and not derived from names in the code.

use crate::directory::{self, Standing};
use bunho_domain::claim::{StandbyStatus, Status};
use bunho_domain::line::door::Enqueue;
use bunho_domain::offer::settings::{ConfirmBy, Kind};

pub(crate) const fn status(status: Status) -> &'static str {
    match status {
        Status::Held => "held",
        Status::Confirmed => "confirmed",
        Status::Released => "released",
        Status::Expired => "expired",
        Status::Returned => "returned",
    }
}

/// The status as a number, in `claims.event` and `claim_history.event`; the migration has the same ones.
pub(crate) const fn status_code(status: Status) -> i64 {
    match status {
        Status::Held => 1,
        Status::Confirmed => 2,
        Status::Released => 3,
        Status::Expired => 4,
        Status::Returned => 5,
    }
}

pub(crate) const fn status_of_code(code: i64) -> Option<Status> {
    Some(match code {
        1 => Status::Held,
        2 => Status::Confirmed,
        3 => Status::Released,
        4 => Status::Expired,
        5 => Status::Returned,
        _ => return None,
    })
}

pub(crate) fn parse_status(text: &str) -> Option<Status> {
    Some(match text {
        "held" => Status::Held,
        "confirmed" => Status::Confirmed,
        "released" => Status::Released,
        "expired" => Status::Expired,
        "returned" => Status::Returned,
        _ => return None,
    })
}

pub(crate) const fn standby(status: StandbyStatus) -> &'static str {
    match status {
        StandbyStatus::Waiting => "waiting",
        StandbyStatus::Served => "served",
        StandbyStatus::Left => "left",
        StandbyStatus::Passed => "passed",
    }
}

pub(crate) fn parse_standby(text: &str) -> Option<StandbyStatus> {
    Some(match text {
        "waiting" => StandbyStatus::Waiting,
        "served" => StandbyStatus::Served,
        "left" => StandbyStatus::Left,
        "passed" => StandbyStatus::Passed,
        _ => return None,
    })
}

pub(crate) const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Coupon => "coupon",
        Kind::Goods => "goods",
        Kind::Booking => "booking",
    }
}

pub(crate) fn parse_kind(text: &str) -> Option<Kind> {
    Some(match text {
        "coupon" => Kind::Coupon,
        "goods" => Kind::Goods,
        "booking" => Kind::Booking,
        _ => return None,
    })
}

pub(crate) const fn enqueue(whom: Enqueue) -> &'static str {
    match whom {
        Enqueue::Open => "open",
        Enqueue::Token => "token",
    }
}

pub(crate) fn parse_enqueue(text: &str) -> Option<Enqueue> {
    match text {
        "open" => Some(Enqueue::Open),
        "token" => Some(Enqueue::Token),
        _ => None,
    }
}

pub(crate) const fn confirm_by(by: ConfirmBy) -> &'static str {
    match by {
        ConfirmBy::Service => "service",
        ConfirmBy::User => "user",
    }
}

pub(crate) fn parse_confirm_by(text: &str) -> Option<ConfirmBy> {
    Some(match text {
        "service" => ConfirmBy::Service,
        "user" => ConfirmBy::User,
        _ => return None,
    })
}

pub(crate) const fn directory_kind(kind: directory::Kind) -> &'static str {
    match kind {
        directory::Kind::Offer => "offer",
        directory::Kind::Zone => "zone",
    }
}

pub(crate) fn parse_directory_kind(text: &str) -> Option<directory::Kind> {
    Some(match text {
        "offer" => directory::Kind::Offer,
        "zone" => directory::Kind::Zone,
        _ => return None,
    })
}

pub(crate) const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Making => "making",
        Standing::Live => "live",
        Standing::Recovering => "recovering",
        Standing::Deleted => "deleted",
    }
}

pub(crate) fn parse_standing(text: &str) -> Option<Standing> {
    Some(match text {
        "making" => Standing::Making,
        "live" => Standing::Live,
        "recovering" => Standing::Recovering,
        "deleted" => Standing::Deleted,
        _ => return None,
    })
}
