use super::*;

#[test]
fn thousands_stand_apart() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (u32::MAX, "4,294,967,295")] {
        assert_eq!(grouped(number), text);
    }
}
