//! A key as a QR code: the address of its page, as that is what the camera of a phone opens. Links in this form work in
//! every browser whose resolver is pkdns.

use std::io::{self, IsTerminal};

use pkdns_dht::signed_packet::PublicKey;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use crate::failure::Failure;

/// Black on white, however the terminal is coloured: some phones do not read it the other way round.
const COLOURS: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

/// What the code says.
fn address(key: &PublicKey) -> String {
    format!("http://{key}.key/")
}

/// The code, for the terminal if there is one, else as on paper; and what it says.
pub(crate) fn code(key: &PublicKey) -> Result<String, Failure> {
    let code = drawn(key)?;
    let code = if io::stdout().is_terminal() { coloured(&code) } else { code };
    Ok(format!("{code}\n{}", address(key)))
}

fn drawn(key: &PublicKey) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(address(key), EcLevel::L)
        .map_err(|error| Failure::Failed(format!("the key does not fit into a QR code: {error}")))?;
    Ok(code.render::<Dense1x2>().build())
}

fn coloured(code: &str) -> String {
    code.lines().map(|line| format!("{COLOURS}{line}{RESET}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use rqrr::PreparedImage;

    use super::*;

    /// Reads a code as a phone does, from an image of it.
    fn read(code: &str) -> String {
        const SCALE: usize = 4;
        let pixel = |x: usize, y: usize| {
            let character = code.lines().nth(y / 2).and_then(|line| line.chars().nth(x)).unwrap();
            matches!((character, y % 2), ('█', _) | ('▀', 0) | ('▄', 1))
        };
        let (width, height) = (code.lines().next().unwrap().chars().count(), 2 * code.lines().count());
        let is_dark = |x, y| pixel(x / SCALE, y / SCALE);
        let mut image = PreparedImage::prepare_from_bitmap(width * SCALE, height * SCALE, is_dark);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_reader_of_codes_finds_the_address_of_the_key() {
        for key in [
            "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo",
            "yg4gxe7z1r7mr6orids9fh95y7gxhdsxjqi6nngsxxtakqaxr5no",
        ] {
            let code = drawn(&PublicKey::try_from(key).unwrap()).unwrap();
            assert_eq!(read(&code), format!("http://{key}.key/"));
            assert!(
                code.lines().all(|line| line.chars().count() < 80) && code.lines().count() < 24,
                "{code}"
            );
        }
    }

    #[test]
    fn each_line_has_its_colours_and_gives_them_back() {
        assert_eq!(coloured("a\nb"), format!("{COLOURS}a{RESET}\n{COLOURS}b{RESET}"));
    }
}
