//! A picture for a key, by which people know it again. Pure.

/// Squares in a row and in a column. The right half mirrors the left one.
const SIDE: usize = 7;

/// Width of a square.
const STEP: usize = 10;

/// An SVG that follows from the bytes of the key alone.
pub(super) fn of(key: &[u8; 32]) -> String {
    let bit = |index: usize| key.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
    let hue = key.last().map_or(0, |byte| u32::from(*byte) * 360 / 256);
    let half = SIDE.div_ceil(2);
    let mut squares = String::new();
    for row in 0..SIDE {
        for column in (0..half).filter(|column| bit(row * half + column)) {
            let mirrored = SIDE - 1 - column;
            squares += &square(column, row);
            if mirrored != column {
                squares += &square(mirrored, row);
            }
        }
    }
    let size = (SIDE + 2) * STEP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" width=\"{size}\" height=\"{size}\" \
         role=\"img\" aria-label=\"A picture made from the key\"><rect width=\"{size}\" height=\"{size}\" \
         fill=\"hsl({hue},32%,88%)\"/><path fill=\"hsl({hue},45%,34%)\" d=\"{squares}\"/></svg>"
    )
}

fn square(column: usize, row: usize) -> String {
    let (x, y) = ((column + 1) * STEP, (row + 1) * STEP);
    format!("M{x} {y}h{STEP}v{STEP}h-{STEP}z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_same_picture_each_time_and_another_key_another_one() {
        let (one, other) = ([0xa5; 32], [0x5a; 32]);
        assert_eq!(of(&one), of(&one));
        assert_ne!(of(&one), of(&other));
        assert!(!of(&[0; 32]).contains("h10"), "no square");
        assert_eq!(of(&[0xff; 32]).matches("h10").count(), SIDE * SIDE);
    }
}
