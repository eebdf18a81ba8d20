//! From the text of a value to its type. `None` means that the text is not what the option accepts.

use std::{net::SocketAddr, time::Duration};

use florin_http::Network;
use florin_money::Asset;

/// An address and a port; `localhost` is the loopback address.
pub fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// `true` or `false`.
pub fn switch(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// `auto`, `true` or `false`.
pub fn auto_switch(text: &str) -> Option<Option<bool>> {
    if text == "auto" { Some(None) } else { switch(text).map(Some) }
}

/// A whole number from 1.
pub fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

/// 1 to 100.
pub fn one_to_hundred(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| (1..=100).contains(number))
}

/// A whole number from 0.
pub fn count_or_zero(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// A whole number from 1, or nothing.
pub fn limit(text: &str) -> Option<Option<u32>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().filter(|number| *number > 0).map(Some) }
}

/// 0 to 1023.
pub fn node(text: &str) -> Option<u16> {
    text.parse().ok().filter(|number| *number < 1024)
}

/// Numbers with units, one after the other: `1h30m`. At most a hundred years.
pub fn duration_or_zero(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(unit_ms)?)?;
        rest = tail;
    }
    (!text.is_empty() && total_ms <= 36_500 * 86_400_000).then(|| Duration::from_millis(total_ms))
}

/// As [`duration_or_zero`], but more than nothing.
pub fn duration(text: &str) -> Option<Duration> {
    duration_or_zero(text).filter(|duration| !duration.is_zero())
}

/// As [`duration`], in whole seconds from 1.
pub fn seconds(text: &str) -> Option<i64> {
    seconds_or_zero(text).filter(|seconds| *seconds > 0)
}

/// As [`duration_or_zero`], in whole seconds.
pub fn seconds_or_zero(text: &str) -> Option<i64> {
    let duration = duration_or_zero(text)?;
    (duration.subsec_millis() == 0).then(|| i64::try_from(duration.as_secs()).ok()).flatten()
}

/// Bytes, with `KiB` and `MiB`; more than nothing, at most 1 GiB.
pub fn size(text: &str) -> Option<usize> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit).filter(|bytes| (1..=1 << 30).contains(bytes))
}

/// Parts between commas, trimmed; none of an empty text.
pub fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Origins as browsers send them: a scheme, a host, perhaps a port, nothing behind.
pub fn origins(text: &str) -> Option<Vec<String>> {
    let origin = |part: &str| {
        let host = part.strip_prefix("https://").or_else(|| part.strip_prefix("http://"))?;
        let is_plain = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]".contains(&b));
        is_plain.then(|| part.to_owned())
    };
    list(text).into_iter().map(origin).collect()
}

/// Addresses, alone or with a number of bits.
pub fn networks(text: &str) -> Option<Vec<Network>> {
    list(text).into_iter().map(|part| part.parse().ok()).collect()
}

/// `CODE:decimals`, none of them an ISO 4217 code, none twice.
pub fn assets(text: &str) -> Option<Vec<Asset>> {
    let mut assets: Vec<Asset> = Vec::new();
    for part in list(text) {
        let (code, exponent) = part.split_once(':')?;
        let asset = Asset::new(code, exponent.parse().ok()?).ok()?;
        if Asset::find_iso(code).is_some() || assets.iter().any(|known| known.code() == asset.code()) {
            return None;
        }
        assets.push(asset);
    }
    Some(assets)
}

/// Visible ASCII, 1 to 200 characters.
pub fn word(text: &str) -> Option<String> {
    let is_word = (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_word.then(|| text.to_owned())
}

/// 32 bytes in hexadecimal or base64 (either alphabet, with or without padding).
pub fn key(text: &str) -> Option<[u8; 32]> {
    use base64::{Engine as _, engine::general_purpose};
    let text = text.trim();
    if text.len() == 64 && text.is_ascii() {
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        return Some(bytes);
    }
    let text = text.trim_end_matches('=');
    let bytes = general_purpose::STANDARD_NO_PAD.decode(text);
    bytes.or_else(|_| general_purpose::URL_SAFE_NO_PAD.decode(text)).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units_and_bounds() {
        let table = [("10s", 10_000), ("500ms", 500), ("1h30m", 5_400_000), ("90d", 7_776_000_000), ("0s", 0)];
        for (text, ms) in table {
            assert_eq!(duration_or_zero(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "10", "s", "-1s", "1.5h", "1w", "1 h", "99999999d", "99999999999999999999s"] {
            assert_eq!(duration_or_zero(bad), None, "{bad:?}");
        }
        assert_eq!(duration("0s"), None);
        assert_eq!((seconds("1h"), seconds("1500ms")), (Some(3600), None));
    }

    #[test]
    fn sizes_are_in_binary_units() {
        assert_eq!((size("65536"), size("64KiB"), size("1MiB")), (Some(65_536), Some(65_536), Some(1_048_576)));
        for bad in ["", "0", "64KB", "-1", "2048MiB", "1.5MiB"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn origins_are_exact() {
        assert_eq!(origins("https://a.example, http://localhost:3000").unwrap().len(), 2);
        assert_eq!(origins("").unwrap().len(), 0);
        for bad in ["*", "https://a.example/", "a.example", "https://", "https://*.example", "null"] {
            assert_eq!(origins(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn custom_assets_do_not_shadow_currencies() {
        assert_eq!(assets("POINTS:0, GOLD:4").unwrap().len(), 2);
        for bad in ["EUR:2", "POINTS", "POINTS:19", "points:0", "POINTS:0,POINTS:2", "POINTS:-1"] {
            assert_eq!(assets(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn keys_are_read_in_both_forms() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";
        assert_eq!(key(hex), key(base64));
        assert_eq!(key(hex).unwrap()[31], 255);
        for bad in ["", "short", &hex[2..], "zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"] {
            assert_eq!(key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn addresses_have_a_port() {
        assert_eq!(address("localhost:80"), address("127.0.0.1:80"));
        assert!(address("[::1]:0").is_some());
        for bad in ["8000", ":8000", "127.0.0.1", "example.org:80", "127.0.0.1:70000"] {
            assert_eq!(address(bad), None, "{bad:?}");
        }
    }
}
