//! The active currencies of ISO 4217 that have a minor unit defined.

// Each list is sorted: it is searched by halves.
const NO_DECIMALS: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF",
    "XPF",
];

const TWO_DECIMALS: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BMD", "BND", "BOB", "BOV",
    "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CNY", "COP", "COU", "CRC", "CUP",
    "CVE", "CZK", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD",
    "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "JMD", "KES", "KGS", "KHR", "KPW", "KYD",
    "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR",
    "MWK", "MXN", "MXV", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR",
    "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP",
    "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "USD", "USN", "UYU",
    "UZS", "VED", "VES", "WST", "XAD", "XCD", "XCG", "YER", "ZAR", "ZMW", "ZWG",
];

const THREE_DECIMALS: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

const FOUR_DECIMALS: &[&str] = &["CLF", "UYW"];

const BY_EXPONENT: [(u8, &[&str]); 4] = [(2, TWO_DECIMALS), (0, NO_DECIMALS), (3, THREE_DECIMALS), (4, FOUR_DECIMALS)];

/// Decimal places of the currency of that code.
pub(crate) fn exponent_of(code: &str) -> Option<u8> {
    BY_EXPONENT.iter().find(|(_, codes)| codes.binary_search(&code).is_ok()).map(|(exponent, _)| *exponent)
}

/// Every code, sorted.
pub(crate) fn codes() -> Vec<&'static str> {
    let mut codes: Vec<_> = BY_EXPONENT.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
    codes.sort_unstable();
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_sorted_and_no_code_is_twice() {
        for (_, list) in BY_EXPONENT {
            assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert!(codes().windows(2).all(|pair| pair[0] < pair[1]));
    }
}
