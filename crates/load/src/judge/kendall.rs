//! Kendall's tau-b: how alike two orders are, from −1 (reversed) to 1 (the same), in O(n log n) after Knight (1966).
//!
//! Pairs tied in one order say nothing of the other; tau-b takes them out of the denominator instead of counting them as agreement.

/// Tau-b of the pairs. None where one of the orders has no two different values, so that there is nothing to compare.
pub(super) fn tau_b(pairs: &mut [(i64, i64)]) -> Option<f64> {
    pairs.sort_unstable();
    let tied_in_x = tied(pairs.chunk_by(|a, b| a.0 == b.0));
    let tied_in_both = tied(pairs.chunk_by(|a, b| a == b));
    let mut ys: Vec<i64> = pairs.iter().map(|pair| pair.1).collect();
    let mut spare = ys.clone();
    let discordant = sort_counting_inversions(&mut ys, &mut spare);
    let tied_in_y = tied(ys.chunk_by(|a, b| a == b));
    let all = choose_two(pairs.len());
    // At most 2^63 pairs of up to 2^32 people: differences fit i128, and floats are precise enough for the root.
    let agreement = all as i128 - tied_in_x as i128 - tied_in_y as i128 + tied_in_both as i128 - 2 * discordant as i128;
    let denominator = ((all - tied_in_x) as f64).sqrt() * ((all - tied_in_y) as f64).sqrt();
    (denominator > 0.0).then(|| (agreement as f64 / denominator).clamp(-1.0, 1.0))
}

const fn choose_two(n: usize) -> u64 {
    let n = n as u64;
    n * n.saturating_sub(1) / 2
}

fn tied<'a, T: 'a>(groups: impl Iterator<Item = &'a [T]>) -> u64 {
    groups.map(|group| choose_two(group.len())).sum()
}

/// Merge sort that counts pairs standing the wrong way round; equal values are in order. With x sorted first and ties of x sorted by
/// y, these are exactly the pairs on which the two orders disagree.
fn sort_counting_inversions(values: &mut [i64], spare: &mut [i64]) -> u64 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(n / 2);
    let (spare_left, spare_right) = spare.split_at_mut(n / 2);
    let mut inversions = sort_counting_inversions(left, spare_left) + sort_counting_inversions(right, spare_right);
    let (mut l, mut r) = (0, 0);
    for slot in spare.iter_mut() {
        let take_right = match (left.get(l), right.get(r)) {
            (Some(a), Some(b)) => b < a,
            (None, _) => true,
            (_, None) => false,
        };
        if take_right {
            *slot = right[r];
            r += 1;
            inversions += (left.len() - l) as u64;
        } else {
            *slot = left[l];
            l += 1;
        }
    }
    values.copy_from_slice(spare);
    inversions
}

#[cfg(test)]
mod tests {
    use super::tau_b;
    use proptest::prelude::*;

    /// Every pair, by its definition.
    fn naive(pairs: &[(i64, i64)]) -> Option<f64> {
        let (mut agree, mut differ_in_x, mut differ_in_y) = (0_i64, 0_i64, 0_i64);
        for (i, a) in pairs.iter().enumerate() {
            for b in &pairs[..i] {
                let (x, y) = ((a.0 - b.0).signum(), (a.1 - b.1).signum());
                agree += x * y;
                differ_in_x += x.abs();
                differ_in_y += y.abs();
            }
        }
        let denominator = ((differ_in_x as f64) * (differ_in_y as f64)).sqrt();
        (denominator > 0.0).then(|| agree as f64 / denominator)
    }

    #[test]
    fn known_orders() {
        assert_eq!(tau_b(&mut []), None);
        assert_eq!(tau_b(&mut [(1, 1)]), None);
        assert_eq!(tau_b(&mut [(1, 1), (1, 2)]), None);
        assert_eq!(tau_b(&mut [(1, 10), (2, 20), (3, 30)]), Some(1.0));
        assert_eq!(tau_b(&mut [(1, 30), (2, 20), (3, 10)]), Some(-1.0));
        // The worked example of the textbooks: 12, 2, 1, 12, 2 against 1, 4, 7, 1, 0.
        let tau = tau_b(&mut [(12, 1), (2, 4), (1, 7), (12, 1), (2, 0)]).unwrap();
        assert!((tau - -0.471_404_520_791_031_7).abs() < 1e-12, "{tau}");
    }

    proptest! {
        #[test]
        fn agrees_with_counting_every_pair(pairs in prop::collection::vec((0_i64..30, 0_i64..30), 0..120)) {
            let (fast, slow) = (tau_b(&mut pairs.clone()), naive(&pairs));
            prop_assert_eq!(fast.is_some(), slow.is_some());
            if let (Some(fast), Some(slow)) = (fast, slow) {
                prop_assert!((fast - slow).abs() < 1e-9, "{} {}", fast, slow);
            }
        }
    }
}
