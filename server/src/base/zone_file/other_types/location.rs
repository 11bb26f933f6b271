//! LOC (RFC 1876): a place on earth.

/// Bytes of the data.
pub(super) const SIZE: usize = 16;

/// Latitude and longitude count thousandths of an arc second from here.
const MIDDLE: u32 = 1 << 31;

/// Altitude counts centimetres from 100 km below the sea.
const BELOW: i64 = 10_000_000;

/// Size, horizontal and vertical precision where none are written, in centimetres (section 3).
const DEFAULTS: [u64; 3] = [100, 1_000_000, 1000];

/// The data, unless `words` are no location.
pub(super) fn parse(words: &[&str]) -> Option<[u8; SIZE]> {
    let (latitude, words) = coordinate(words, 90, 'N', 'S')?;
    let (longitude, words) = coordinate(words, 180, 'E', 'W')?;
    let (altitude, words) = words.split_first()?;
    let (sign, digits) = altitude.strip_prefix('-').map_or((1, *altitude), |digits| (-1, digits));
    let altitude = (sign * i64::try_from(metres(digits)?).ok()?).checked_add(BELOW)?;
    if words.len() > DEFAULTS.len() {
        return None;
    }
    let mut extents = [0; 3];
    for (index, (extent, default)) in extents.iter_mut().zip(DEFAULTS).enumerate() {
        *extent = power(words.get(index).map_or(Some(default), |word| metres(word))?)?;
    }
    let [size, horizontal, vertical] = extents;
    let mut data = [0; SIZE];
    let parts = [
        &[0, size, horizontal, vertical],
        &latitude.to_be_bytes(),
        &longitude.to_be_bytes(),
        &u32::try_from(altitude).ok()?.to_be_bytes(),
    ];
    data.as_chunks_mut::<4>().0.iter_mut().zip(parts).for_each(|(room, part)| *room = *part);
    Some(data)
}

/// The data as text, unless they are of another version or mean what cannot be written.
pub(super) fn text(data: &[u8; SIZE]) -> Option<String> {
    let [head, latitude, longitude, altitude] = data.as_chunks().0 else {
        return None;
    };
    let [0, size, horizontal, vertical] = *head else {
        return None;
    };
    let number = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
    let altitude = i64::from(number(altitude)) - BELOW;
    let sign = if altitude < 0 { "-" } else { "" };
    Some(format!(
        "{} {} {sign}{} {} {} {}",
        angle(number(latitude), 90, 'N', 'S')?,
        angle(number(longitude), 180, 'E', 'W')?,
        length(altitude.unsigned_abs()),
        length(centimetres(size)?),
        length(centimetres(horizontal)?),
        length(centimetres(vertical)?),
    ))
}

/// Degrees, and perhaps minutes and seconds, up to the letter of the hemisphere.
fn coordinate<'a>(
    words: &'a [&'a str],
    most: u32,
    positive: char,
    negative: char,
) -> Option<(u32, &'a [&'a str])> {
    let is = |word: &str, letter: char| word.len() == 1 && word.to_ascii_uppercase().starts_with(letter);
    let end = words.iter().position(|word| is(word, positive) || is(word, negative))?;
    let (numbers, rest) = words.split_at_checked(end)?;
    let (letter, rest) = rest.split_first()?;
    let whole = |word: Option<&&str>, below: u64| match word {
        Some(word) => decimal(word, 0).filter(|number| *number < below),
        None => Some(0),
    };
    let degrees = whole(numbers.first(), u64::from(most) + 1).filter(|_| (1..=3).contains(&end))?;
    let minutes = whole(numbers.get(1), 60)?;
    let thousandths = numbers.get(2).map_or(Some(0), |word| decimal(word, 3)).filter(|&t| t < 60_000)?;
    let all = u32::try_from((degrees * 60 + minutes) * 60_000 + thousandths).ok()?;
    let value = if is(letter, positive) { MIDDLE.checked_add(all) } else { MIDDLE.checked_sub(all) };
    value.filter(|_| all <= most * 3_600_000).map(|value| (value, rest))
}

fn angle(value: u32, most: u32, positive: char, negative: char) -> Option<String> {
    let letter = if value < MIDDLE { negative } else { positive };
    let all = value.abs_diff(MIDDLE);
    let (minutes, thousandths) = (all / 60_000, all % 60_000);
    let (degrees, minutes) = (minutes / 60, minutes % 60);
    let (seconds, thousandths) = (thousandths / 1000, thousandths % 1000);
    (all <= most * 3_600_000).then(|| format!("{degrees} {minutes} {seconds}.{thousandths:03} {letter}"))
}

/// Metres, with or without their unit, in centimetres.
fn metres(word: &str) -> Option<u64> {
    decimal(word.strip_suffix(['m', 'M']).unwrap_or(word), 2)
}

fn length(centimetres: u64) -> String {
    format!("{}.{:02}m", centimetres / 100, centimetres % 100)
}

/// A number with up to `places` digits after its point, times ten to the power of `places`.
fn decimal(word: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || fraction.len() > places {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

/// A length as one digit and a power of ten, rounded down (section 2).
fn power(centimetres: u64) -> Option<u8> {
    let (mut digit, mut exponent) = (centimetres, 0);
    while digit > 9 {
        digit /= 10;
        exponent += 1;
    }
    (exponent <= 9).then(|| u8::try_from(digit).map(|digit| digit << 4 | exponent).ok())?
}

fn centimetres(power: u8) -> Option<u64> {
    let (digit, exponent) = (power >> 4, power & 15);
    // A zero with an exponent would be read back without it.
    let is_plain = digit <= 9 && exponent <= 9 && (digit > 0 || exponent == 0);
    is_plain.then(|| u64::from(digit) * 10_u64.pow(exponent.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<String> {
        let words: Vec<&str> = text.split(' ').collect();
        super::text(&parse(&words)?)
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (text, expected) in [
            (
                "42 21 54 N 71 06 18 W -24m 30m",
                "42 21 54.000 N 71 6 18.000 W -24.00m 30.00m 10000.00m 10.00m",
            ),
            (
                "42 21 43.952 N 71 5 6.344 W -24m 1m 200m",
                "42 21 43.952 N 71 5 6.344 W -24.00m 1.00m 200.00m 10.00m",
            ),
            ("52 14 05 N 00 08 50 E 10m", "52 14 5.000 N 0 8 50.000 E 10.00m 1.00m 10000.00m 10.00m"),
            ("32 7 19 S 116 2 25 E 10m", "32 7 19.000 S 116 2 25.000 E 10.00m 1.00m 10000.00m 10.00m"),
            (
                "90 n 180 w -100000.00 0 90000000m 0.05m",
                "90 0 0.000 N 180 0 0.000 W -100000.00m 0.00m 90000000.00m 0.05m",
            ),
        ] {
            assert_eq!(written(text).as_deref(), Some(expected));
            assert_eq!(written(expected).as_deref(), Some(expected));
        }
        let words = ["42", "21", "54", "N", "71", "06", "18", "W", "-24m", "30m"];
        let expected =
            [0, 0x33, 0x16, 0x13, 0x89, 0x17, 0x2d, 0xd0, 0x70, 0xbe, 0x15, 0xf0, 0, 0x98, 0x8d, 0x20];
        assert_eq!(parse(&words), Some(expected));
    }

    #[test]
    fn what_is_no_place_on_earth_is_refused() {
        for text in [
            "",
            "91 N 0 E 0",
            "90 0 0.001 N 0 E 0",
            "0 N 181 E 0",
            "N 0 E 0",
            "1 60 N 0 E 0",
            "1 1 60 N 0 E 0",
            "1 1 1 1 N 0 E 0",
            "1 N 1 E",
            "1 N 1 E -100000.01m",
            "1 N 1 E 42849672.96m",
            "1 N 1 E 92233720368547758.07m",
            "1 N 1 E -92233720368547758.07m",
            "1 N 1 E 1.001m",
            "1 N 1 E 1 90000000000m",
            "1 N 1 E 1 1 1 1 1",
            "+1 N 1 E 1",
            "1 E 1 N 1",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }
}
