//! QR codes as drawings in a page. Pure.

use qrcode::{Color, EcLevel, QrCode};

/// Modules of white around a code, without which cameras do not find it (ISO 18004 asks for four).
const MARGIN: usize = 4;

/// A code that says `text`, in black on white whatever the page looks like. Empty where the text is too long for one.
pub(super) fn drawing(text: &str, title: &str) -> String {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else { return String::new() };
    let (width, colors) = (code.width(), code.to_colors());
    let mut path = String::new();
    for (y, row) in colors.chunks(width).enumerate() {
        let mut x = 0;
        // Modules in a row are one rectangle.
        for run in row.chunk_by(|one, other| one == other) {
            if run.first() == Some(&Color::Dark) {
                let (left, top, length) = (x + MARGIN, y + MARGIN, run.len());
                path += &format!("M{left} {top}h{length}v1h-{length}z");
            }
            x += run.len();
        }
    }
    let size = width + 2 * MARGIN;
    format!(
        "<svg class=\"qr\" viewBox=\"0 0 {size} {size}\" role=\"img\" aria-label=\"{title}\" shape-rendering=\"crispEdges\">\
         <rect width=\"{size}\" height=\"{size}\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use rqrr::PreparedImage;

    use super::*;

    /// The drawing, as a camera sees it.
    fn read(drawing: &str) -> String {
        const SCALE: usize = 4;
        let size: usize =
            drawing.split_once("viewBox=\"0 0 ").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
        let mut dark = vec![vec![false; size]; size];
        let path = drawing.split_once(" d=\"").unwrap().1.split_once('"').unwrap().0;
        for rectangle in path.split('M').skip(1) {
            let (x, rest) = rectangle.split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let length: usize = rest.split_once('v').unwrap().0.parse().unwrap();
            let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
            dark[y][x..x + length].fill(true);
        }
        let mut image =
            PreparedImage::prepare_from_bitmap(size * SCALE, size * SCALE, |x, y| dark[y / SCALE][x / SCALE]);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_reader_of_codes_finds_the_address() {
        let address = "http://7fmjpcuuzf54hw18bsgi3zihzyh4awseeuq5tmojefaezjbd64cy.key/";
        let drawing = drawing(address, "QR code");
        assert_eq!(read(&drawing), address);
        assert!(drawing.len() < 12_000, "{}", drawing.len());
    }

    #[test]
    fn a_text_that_no_code_holds_is_not_drawn() {
        assert_eq!(drawing(&"x".repeat(10_000), ""), "");
    }
}
