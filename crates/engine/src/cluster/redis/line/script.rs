//! The script's text: the files of `lua/line/` as one, with numbers in the place of their names.
//!
//! A script runs from its first line with every call. Each local that a function uses is then looked for in a list of all such locals; with a hundred
//! named numbers and two hundred functions that was three quarters of the time of a short run (73 µs of a call that did nothing else,
//! against 28). So functions are in one table (see `prelude.lua`), and names of numbers are replaced here.

use crate::cluster::redis::script::Script;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The first line makes Redis check before the first command whether it has the memory to write (a script without it would be stopped in the middle).
const SOURCE: &str = concat!(
    "#!lua\n",
    include_str!("../lua/line/prelude.lua"),
    include_str!("../lua/line/order.lua"),
    include_str!("../lua/line/wheel.lua"),
    include_str!("../lua/line/schedule.lua"),
    include_str!("../lua/line/pace.lua"),
    include_str!("../lua/line/places.lua"),
    include_str!("../lua/line/view.lua"),
    include_str!("../lua/line/commands.lua"),
    include_str!("../lua/line/main.lua")
);

/// The script's text.
pub static SCRIPT: LazyLock<String> = LazyLock::new(|| with_numbers(SOURCE));

/// For every command.
pub(in crate::cluster::redis) static RUN: LazyLock<Script> = LazyLock::new(|| Script::new(SCRIPT.as_str().into()));

/// For what needs no memory, when Redis is full: removals free some, and without them it would stay full.
pub(in crate::cluster::redis) static WHEN_FULL: LazyLock<Script> =
    LazyLock::new(|| Script::new(SCRIPT.replacen("#!lua", "#!lua flags=allow-oom", 1).into()));

/// Puts every number that a line such as `local ONE, OTHER = 1, 2` names in the place of its name.
fn with_numbers(source: &str) -> String {
    let mut numbers = HashMap::new();
    let mut text = String::with_capacity(source.len());
    for line in source.lines() {
        if let Some(named) = named_numbers(line) {
            numbers.extend(named);
        } else if !line.trim_start().starts_with("--") {
            // Every line stays where it was, so that what Lua says of an error is found in the files.
            replace_names(line, &numbers, &mut text);
        }
        text.push('\n');
    }
    text
}

fn named_numbers(line: &str) -> Option<Vec<(&str, &str)>> {
    let (names, values) = line.strip_prefix("local ")?.split_once(" = ")?;
    let named: Vec<(&str, &str)> = names.split(", ").zip(values.split(", ")).collect();
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let is_number = |value: &str| value.chars().all(|c| c.is_ascii_digit() || c == '.');
    named.iter().all(|(name, value)| is_name(name) && is_number(value)).then_some(named)
}

fn replace_names(line: &str, numbers: &HashMap<&str, &str>, text: &mut String) {
    let mut rest = line;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (word, after) = rest.split_at(end);
        // What follows a quote is a text of its own, such as the name of a command of Redis.
        let number = numbers.get(word).filter(|_| before != '\'');
        text.push_str(number.copied().unwrap_or(word));
        before = word.chars().next_back().unwrap_or(' ');
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunho_domain::line::{PERIOD_FLOOR_MS, POLL_SLACK_MS, RESERVE_BLOCK, TICK_MS};

    #[test]
    fn names_of_numbers_are_replaced_and_texts_are_not() {
        let source = "local ONE, OTHER = 1, 20\nlocal OF = 'ONE'\ncall('OTHER', t[ONE], ONES, OTHER)\n  -- ONE\nlocal THIRD = 3 * ONE";
        assert_eq!(with_numbers(source), "\nlocal OF = 'ONE'\ncall('OTHER', t[1], ONES, 20)\n\nlocal THIRD = 3 * 1\n");
    }

    #[test]
    fn the_script_has_the_numbers_of_the_domain() {
        let numbers = [
            ("RESERVE_BLOCK", i64::from(RESERVE_BLOCK)),
            ("POLL_SLACK_MS", POLL_SLACK_MS),
            ("TICK_MS", TICK_MS),
            ("PERIOD_FLOOR_MS", i64::from(PERIOD_FLOOR_MS)),
        ];
        for (name, value) in numbers {
            assert!(SOURCE.contains(&format!("local {name} = {value}\n")), "{name} is not {value} in the script");
        }
    }
}
