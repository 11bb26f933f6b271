//! Small drawings of figures over time. Pure.

use super::html::escape;
use crate::edge::status::{Period, Trend};

/// Of the drawing, in its own units. It is stretched to where it stands.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 60.0;

/// Values of a whole period.
const VALUES: usize = 60;

/// Items of a list, one for each figure.
pub(super) fn plots(period: &Period) -> String {
    period.trends.iter().map(plot).collect()
}

fn plot(trend: &Trend) -> String {
    let Trend { title, unit, values, .. } = trend;
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let most = known.iter().copied().fold(0.0, f64::max);
    let last = values.last().copied().flatten();
    let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| number(value, unit));
    let about = match known.is_empty() {
        true => "nothing to measure yet".to_owned(),
        false => {
            let mean = known.iter().sum::<f64>() / known.len() as f64;
            format!("mean {}, most {}", number(mean, unit), number(most, unit))
        }
    };
    format!(
        "<li><h3>{}</h3><div class=\"now\">{}</div>\
         <svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <path class=\"base\" d=\"M0 {base}H{WIDTH}\"/>{}</svg><div class=\"note\">{about}</div></li>\n",
        escape(title),
        text(last),
        paths(values, if *unit == "%" { 100.0 } else { most }),
        base = HEIGHT - 1.0,
    )
}

/// A line and the area below for each stretch without a gap. The newest value is at the right edge.
fn paths(values: &[Option<f64>], most: f64) -> String {
    let most = if most > 0.0 { most } else { 1.0 };
    let offset = VALUES.saturating_sub(values.len());
    let x = |index: usize| (offset + index) as f64 * WIDTH / (VALUES - 1) as f64;
    let y = |value: f64| HEIGHT - 2.0 - (value / most).clamp(0.0, 1.0) * (HEIGHT - 6.0);
    let points: Vec<(f64, Option<f64>)> =
        values.iter().enumerate().map(|(index, value)| (x(index), value.map(y))).collect();
    points
        .split(|(_, value)| value.is_none())
        .filter_map(|stretch| {
            let (first, last) = (stretch.first()?.0, stretch.last()?.0);
            let line: Vec<String> =
                stretch.iter().filter_map(|(x, y)| Some(format!("{x:.1} {:.1}", (*y)?))).collect();
            let line = line.join("L");
            // A stretch of one value has no length, and is drawn all the same.
            let line = if stretch.len() == 1 { format!("{line}h1.5") } else { line };
            Some(format!(
                "<path class=\"area\" d=\"M{line}V{HEIGHT}H{first:.1}z\"/><path class=\"line\" d=\"M{line}\"/>",
                first = if stretch.len() == 1 { last } else { first }
            ))
        })
        .collect()
}

fn number(value: f64, unit: &str) -> String {
    let digits = if value >= 100.0 || value == 0.0 { 0 } else { 1 };
    let space = if unit == "ms" { " " } else { "" };
    format!("{value:.digits$}{space}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_no_value_and_a_single_value_is_seen() {
        let drawn = paths(&[Some(1.0), Some(2.0), None, Some(4.0), None], 4.0);
        assert_eq!(drawn.matches("class=\"line\"").count(), 2, "{drawn}");
        assert!(drawn.contains("h1.5"), "{drawn}");
        assert_eq!(paths(&[None; 60], 0.0), "");
        assert!(!paths(&[Some(0.0); 60], 0.0).contains("NaN"));
    }

    #[test]
    fn the_newest_value_is_at_the_right_edge() {
        assert!(paths(&[Some(1.0), Some(1.0)], 1.0).contains("L300.0 "));
    }

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        for (value, unit, text) in
            [(0.0, "/s", "0/s"), (1.26, "/s", "1.3/s"), (99.94, "%", "99.9%"), (1234.5, "ms", "1234 ms")]
        {
            assert_eq!(number(value, unit), text);
        }
    }
}
