//! Tickets: what was signed reads back, and nothing else does.

use bunho_domain::event::TicketNumber;
use bunho_domain::ids::ZoneId;
use bunho_domain::ticket::{TICKET_CHARS, Ticket, TicketInvalid, TicketKey, ticket_id};
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
    }
}

#[test]
fn a_ticket_reads_back_and_is_always_spelled_the_same() {
    let key = TicketKey::new(&[7; 32]);
    let edges = [
        ticket(),
        Ticket { zone_number: 0, number: TicketNumber { epoch: 0, seq: 0 }, issued_at: Millis(0), nonce: 0 },
        Ticket {
            zone_number: u32::MAX,
            number: TicketNumber { epoch: u32::MAX, seq: u32::MAX },
            issued_at: Millis(i64::MAX),
            nonce: u64::MAX,
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
