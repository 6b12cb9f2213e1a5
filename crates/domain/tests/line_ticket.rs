//! Tickets: what was signed reads back, and nothing else does.

use bunho_domain::event::TicketNumber;
use bunho_domain::ids::ZoneId;
use bunho_domain::ticket::{BOUND_TICKET_CHARS, KeyHash, TICKET_CHARS, Ticket, TicketInvalid, TicketKey, TicketKeys, ticket_id};
use bunho_domain::time::Millis;

fn zone(id: &str) -> ZoneId {
    ZoneId::parse(id).expect("an id")
}

fn ticket() -> Ticket {
    Ticket {
        zone_number: 7,
        number: TicketNumber { epoch: 3, seq: 1_234_567 },
        issued_at: Millis(1_767_225_600_123),
        nonce: 0xfeed_beef_0123_4567,
        bound_to: None,
    }
}

#[test]
fn a_ticket_reads_back_and_is_always_spelled_the_same() {
    let key = TicketKey::new(&[7; 32]);
    let edges = [
        ticket(),
        Ticket { zone_number: 0, number: TicketNumber { epoch: 0, seq: 0 }, issued_at: Millis(0), nonce: 0, bound_to: None },
        Ticket {
            zone_number: u32::MAX,
            number: TicketNumber { epoch: u32::MAX, seq: u32::MAX },
            issued_at: Millis(i64::MAX),
            nonce: u64::MAX,
            bound_to: None,
        },
        Ticket { issued_at: Millis(i64::MIN), ..ticket() },
    ];
    for ticket in edges {
        let text = ticket.encode(&key, &zone("TEST_ZONE"));
        assert_eq!(text.len(), TICKET_CHARS);
        assert_eq!(text, ticket.encode(&TicketKey::new(&[7; 32]), &zone("TEST_ZONE")));
        assert_eq!(Ticket::decode(&text, &key, &zone("TEST_ZONE")), Ok(ticket));
    }
}

#[test]
fn every_single_bit_is_covered() {
    let key = TicketKey::new(&[7; 32]);
    let text = ticket().encode(&key, &zone("z"));
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(edited) = String::from_utf8(bytes) {
                assert_eq!(Ticket::decode(&edited, &key, &zone("z")), Err(TicketInvalid), "bit {bit} of character {at}");
            }
        }
    }
}

#[test]
fn another_zone_another_key_and_other_lengths_are_refused() {
    let key = TicketKey::new(&[7; 32]);
    let text = ticket().encode(&key, &zone("z"));
    let mut other_key = [7; 32];
    other_key[31] = 8;
    assert_eq!(Ticket::decode(&text, &TicketKey::new(&other_key), &zone("z")), Err(TicketInvalid));
    for id in ["z2", "Z", "y"] {
        assert_eq!(Ticket::decode(&text, &key, &zone(id)), Err(TicketInvalid), "{id}");
    }
    let longer = format!("{text}A");
    let padded = format!("{text}=");
    let group = format!("{text}AAAA");
    for wrong in
        ["", "A", &text[1..], &text[..text.len() - 1], &text[..text.len() - 4], &longer, &padded, &group, &"A".repeat(TICKET_CHARS)]
    {
        assert_eq!(Ticket::decode(wrong, &key, &zone("z")), Err(TicketInvalid), "{wrong:?}");
    }
    // The right length in bytes, but not in base64's alphabet.
    for odd in ["é", "+", "/", " ", "\n", "="] {
        let wrong = format!("{odd}{}", &text[odd.len()..]);
        assert_eq!(Ticket::decode(&wrong, &key, &zone("z")), Err(TicketInvalid), "{wrong:?}");
    }
}

#[test]
fn the_id_names_zone_epoch_and_number_and_the_key_stays_secret() {
    assert_eq!(ticket().id(), "7-3-1234567");
    assert_eq!(ticket_id(1, TicketNumber { epoch: 2, seq: 3 }), "1-2-3");
    assert_eq!(format!("{:?}", TicketKey::new(&[7; 32])), "TicketKey");
}

#[test]
fn a_place_keeps_its_text_and_its_name_while_keys_change() {
    let (first, second, third) = ([1; 32], [2; 32], [3; 32]);
    let before = TicketKeys::one(&first);
    let at = |ms| Ticket { issued_at: Millis(ms), ..ticket() };
    let texts = [at(0), at(999), at(1_000), at(5_000)].map(|ticket| before.encode(&ticket, &zone("z")));
    let after = TicketKeys::new(&first, [(Millis(2_000), third), (Millis(0), first), (Millis(1_000), second)]).expect("keys");
    // What was issued before the second key signs is written as ever, and all that was ever written is read.
    assert_eq!(after.encode(&at(999), &zone("z")), texts[1]);
    assert_ne!(after.encode(&at(1_000), &zone("z")), texts[2]);
    for (text, ms) in texts.iter().zip([0, 999, 1_000, 5_000]) {
        assert_eq!(after.decode(text, &zone("z")), Ok(at(ms)));
    }
    for ms in [0, 1_500, 9_000] {
        assert_eq!(after.decode(&after.encode(&at(ms), &zone("z")), &zone("z")), Ok(at(ms)));
        assert!(after.decode(&after.encode(&at(ms), &zone("z")), &zone("y")).is_err());
    }
    assert_eq!(after.client_nonce(&zone("z"), "me"), before.client_nonce(&zone("z"), "me"));
    // A key that is dropped takes its tickets along, and no others; who was here before the oldest is signed by it.
    let dropped = TicketKeys::new(&first, [(Millis(1_000), second), (Millis(2_000), third)]).expect("keys");
    assert!(dropped.decode(&texts[0], &zone("z")).is_err());
    assert_eq!(dropped.decode(&after.encode(&at(1_500), &zone("z")), &zone("z")), Ok(at(1_500)));
    assert_eq!(dropped.decode(&dropped.encode(&at(0), &zone("z")), &zone("z")), Ok(at(0)));
    assert_eq!(dropped.client_nonce(&zone("z"), "me"), before.client_nonce(&zone("z"), "me"));
    assert!(TicketKeys::new(&first, []).is_none());
}

#[test]
fn a_ticket_that_is_bound_says_to_whom_and_nobody_takes_that_off() {
    let (key, zone) = (TicketKey::new(&[7; 32]), zone("z"));
    let bound = Ticket { bound_to: Some(KeyHash::of("kim")), ..ticket() };
    let text = bound.encode(&key, &zone);
    assert_eq!(text.len(), BOUND_TICKET_CHARS);
    assert_eq!(Ticket::decode(&text, &key, &zone), Ok(bound));
    // Fields alone with the MAC of the longer ones, and the other way round.
    let plain = ticket().encode(&key, &zone);
    for forged in [&text[..TICKET_CHARS], &format!("{}{}", &plain[..36], &text[36..]), &format!("{}{}", &text[..36], &plain[36..])] {
        assert_eq!(Ticket::decode(forged, &key, &zone), Err(TicketInvalid), "{forged}");
    }
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let edited = String::from_utf8(bytes).expect("ASCII");
        assert_eq!(Ticket::decode(&edited, &key, &zone), Err(TicketInvalid), "character {at}");
    }
    // As anybody computes it: echo -n kim | openssl dgst -sha256 -binary | head -c 18 | basenc --base64url
    assert_eq!(KeyHash::of("kim").text(), "Jq54TRlKV2BGQ0gymvTrn8or");
}
