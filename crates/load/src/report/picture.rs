//! A chart as one SVG file, letters and all, for pages that show pictures and run nothing.

use super::axis::{Axis, Scale, clock, exact, moments, short};
use super::markup::Text;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
/// Where the plot is.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 30.0;
/// Colours of Okabe and Ito, darkened for a white ground; as in `style.css`.
const COLOURS: [&str; 3] = ["#0b67a8", "#c8500a", "#0a7d5c"];

/// One line of it: a name, and points in order. A gap is where `None` stands.
pub struct Course {
    /// For the legend.
    pub name: String,
    /// Seconds, and the value.
    pub points: Vec<(f64, Option<f64>)>,
}

/// A picture of some courses over time; `marks` are moments with a line down the plot.
#[must_use]
pub fn draw(title: &str, unit: &str, logarithmic: bool, courses: &[Course], marks: &[f64]) -> String {
    let scale = if logarithmic { Scale::Log } else { Scale::Linear };
    let axis = Axis::over(scale, courses.iter().flat_map(|course| course.points.iter().filter_map(|(_, value)| *value)));
    let until = courses.iter().flat_map(|course| course.points.iter().map(|(at, _)| *at)).fold(1.0, f64::max);
    let x = |at: f64| LEFT + at / until * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| axis.height(value).map(|height| HEIGHT - BOTTOM - height * (HEIGHT - TOP - BOTTOM));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n<text x=\"16\" y=\"22\" font-size=\"15\" font-weight=\"600\" fill=\"#16202c\">{}</text>\n<text x=\"16\" y=\"42\" fill=\"#55606e\">{}</text>\n",
        Text(title),
        Text(&in_words(courses)),
        Text(title),
        Text(unit)
    );
    for tick in &axis.ticks {
        let Some(y) = y(*tick) else { continue };
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#e4e8ed\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#55606e\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            short(*tick)
        );
    }
    for moment in moments(until) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#55606e\">{}</text>",
            x(moment),
            HEIGHT - 10.0,
            clock(moment)
        );
    }
    for mark in marks {
        let _ = writeln!(svg, "<path d=\"M{:.1} {TOP}V{:.1}\" stroke=\"#8a929d\" stroke-dasharray=\"3 3\"/>", x(*mark), HEIGHT - BOTTOM);
    }
    for (course, colour) in courses.iter().zip(COLOURS.iter().cycle()) {
        let mut path = String::new();
        let mut drawn = false;
        for (at, value) in &course.points {
            let Some(y) = value.and_then(y) else {
                drawn = false;
                continue;
            };
            let _ = write!(path, "{}{:.1} {y:.1}", if drawn { 'L' } else { 'M' }, x(*at));
            drawn = true;
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" stroke-linejoin=\"round\"/>");
    }
    legend(courses, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn legend(courses: &[Course], svg: &mut String) {
    // From the right, by a width that no name here passes.
    for (i, (course, colour)) in courses.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let x = WIDTH - RIGHT - 150.0 * (courses.len() - i) as f64;
        let _ = writeln!(
            svg,
            "<path d=\"M{x} 38h20\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"42\" fill=\"#16202c\">{}</text>",
            x + 26.0,
            Text(&course.name)
        );
    }
}

fn in_words(courses: &[Course]) -> String {
    let most = |course: &Course| course.points.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max);
    courses.iter().map(|course| format!("{}: at most {}. ", course.name, exact(most(course)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_not_drawn_over_and_names_are_no_markup() {
        let course = Course {
            name: "a<b".into(),
            points: vec![(0.0, Some(1.0)), (10.0, Some(2.0)), (20.0, None), (30.0, Some(3.0)), (40.0, Some(3.0))],
        };
        let svg = draw("memory", "MB", false, &[course], &[20.0]);
        let line = svg.lines().find(|line| line.contains("stroke-linejoin")).expect("a line");
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 2), "{line}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b") && svg.contains("stroke-dasharray"));
    }
}
