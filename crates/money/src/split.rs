//! Splitting an amount by weights, so that nothing is lost or made.

use thiserror::Error;

/// Why an amount cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SplitError {
    /// There is no weight above zero.
    #[error("nothing to split by: no weight is above zero")]
    NoWeights,
    /// The sum of the weights passes 64 bits.
    #[error("weights are too large")]
    WeightsTooLarge,
}

/// Splits `total_minor` in proportion to `weights` by largest remainder: the parts sum to the total, each is within one
/// minor unit of its exact share, and among equal remainders the earlier part gets the unit.
///
/// # Errors
/// [`SplitError::NoWeights`] if no weight is above zero, [`SplitError::WeightsTooLarge`] if their sum passes 64 bits.
pub fn split_by_weights(total_minor: i128, weights: &[u64]) -> Result<Vec<i128>, SplitError> {
    let sum = weights.iter().try_fold(0_u64, |sum, weight| sum.checked_add(*weight));
    let sum = u128::from(sum.ok_or(SplitError::WeightsTooLarge)?);
    if sum == 0 {
        return Err(SplitError::NoWeights);
    }
    let total = total_minor.unsigned_abs();
    // total * weight may pass 128 bits; (total % sum) * weight cannot, both being below 2^64.
    let (whole, rest) = (total / sum, total % sum);
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().copied().map(u128::from).enumerate() {
        parts.push(whole * weight + rest * weight / sum);
        remainders.push((rest * weight % sum, index));
    }
    let mut left = total - parts.iter().sum::<u128>();
    remainders.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, index) in remainders {
        if left == 0 {
            break;
        }
        parts[index] += 1;
        left -= 1;
    }
    let signed = |part: u128| if total_minor < 0 { 0_i128.wrapping_sub_unsigned(part) } else { part.cast_signed() };
    Ok(parts.into_iter().map(signed).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_units_that_do_not_divide_go_to_the_largest_remainders() {
        let table: &[(i128, &[u64], &[i128])] = &[
            (100, &[1, 1, 1], &[34, 33, 33]),
            (-100, &[1, 1, 1], &[-34, -33, -33]),
            (1000, &[7000, 2000, 1000], &[700, 200, 100]),
            (10, &[1, 2], &[3, 7]),
            (1, &[0, 1, 1], &[0, 1, 0]),
            (0, &[3, 4], &[0, 0]),
            (5, &[0, 9], &[0, 5]),
            (i128::MIN, &[1], &[i128::MIN]),
            (i128::MAX, &[u64::MAX], &[i128::MAX]),
        ];
        for (total, weights, parts) in table {
            assert_eq!(split_by_weights(*total, weights).unwrap(), *parts, "{total} by {weights:?}");
        }
    }

    #[test]
    fn there_must_be_something_to_split_by() {
        assert_eq!(split_by_weights(1, &[]), Err(SplitError::NoWeights));
        assert_eq!(split_by_weights(1, &[0, 0]), Err(SplitError::NoWeights));
        assert_eq!(split_by_weights(1, &[u64::MAX, 1]), Err(SplitError::WeightsTooLarge));
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_total_and_are_fair(
            total in any::<i128>(),
            weights in proptest::collection::vec(prop_oneof![0_u64..10, 0_u64..=(u64::MAX >> 5)], 1..20),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let parts = split_by_weights(total, &weights).unwrap();
            prop_assert_eq!(parts.iter().try_fold(0_i128, |sum, part| sum.checked_add(*part)), Some(total));
            for (part, weight) in parts.iter().zip(&weights) {
                prop_assert!(*weight > 0 || *part == 0);
                prop_assert!(*part == 0 || part.signum() == total.signum());
            }
        }

        #[test]
        fn each_part_is_within_one_unit_of_its_share(
            total in -1_000_000_i128..1_000_000,
            weights in proptest::collection::vec(0_u64..1000, 1..9),
        ) {
            let sum: i128 = weights.iter().copied().map(i128::from).sum();
            prop_assume!(sum > 0);
            for (part, weight) in split_by_weights(total, &weights).unwrap().into_iter().zip(&weights) {
                prop_assert!((part * sum - total * i128::from(*weight)).abs() < sum);
            }
        }
    }
}
