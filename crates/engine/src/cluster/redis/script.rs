//! The script: everything that is decided in Redis, as one text with one name.
//!
//! One script and not one for each command, because one call runs many commands of different kinds: round trips and the start of a
//! script, not Lua, are what a Redis node runs out of.

use sha1::{Digest, Sha1};
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::LazyLock;

macro_rules! with_first_line {
    ($line:literal) => {
        concat!(
            $line,
            "\n",
            include_str!("lua/prelude.lua"),
            include_str!("lua/rules.lua"),
            include_str!("lua/commands.lua"),
            include_str!("lua/main.lua")
        )
    };
}

/// A script and its SHA-1.
pub(super) struct Script {
    pub(super) source: Cow<'static, str>,
    pub(super) sha1: String,
}

/// For every command about offers. Its first line makes Redis check before the first command whether it has the memory to write; a script
/// without that line would be stopped in the middle.
pub(super) static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(with_first_line!("#!lua").into()));

/// For what needs no memory, when Redis is full: removals free some, and without them it would stay full.
pub(super) static WHEN_FULL: LazyLock<Script> = LazyLock::new(|| Script::new(with_first_line!("#!lua flags=allow-oom").into()));

impl Script {
    pub(super) fn new(source: Cow<'static, str>) -> Self {
        let sha1 = Sha1::digest(source.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { source, sha1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunho_domain::limits;

    #[test]
    fn the_script_has_the_limits_of_the_domain() {
        let limits: [(&str, u64); 5] = [
            ("SETTLE_MOST", limits::SETTLE_MOST as u64),
            ("ENDED_PER_USER_MAX", limits::ENDED_PER_USER_MAX.into()),
            ("REFUSAL_CLAIMS_MAX", limits::REFUSAL_CLAIMS_MAX as u64),
            ("ORDINAL_LIMIT_MAX", limits::ORDINAL_LIMIT_MAX.into()),
            ("QUANTITY_MAX", limits::QUANTITY_MAX.into()),
        ];
        for (name, value) in limits {
            assert!(SCRIPT.source.contains(&format!("local {name} = {value}\n")), "{name} is not {value} in the script");
        }
    }
}
