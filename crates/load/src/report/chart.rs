//! Draws one chart: a figure whose plot is SVG and whose letters are HTML.
//!
//! The plot is stretched to whatever width the page has (`preserveAspectRatio="none"`, strokes of constant width) and everything
//! with letters is placed over it by percentage, so that a chart is as readable on a phone as on a wall. What a read-out
//! shows stands beside it as JSON; what a table shows, in `<details>`.

use super::axis::{Axis, Scale, clock, exact, moments, short};
use super::markup::Text;
use std::fmt::Write;

/// Points drawn at most; more cannot be told apart.
pub(super) const POINTS_MAX: usize = 400;
/// Rows of the table beside a chart.
const ROWS_MAX: usize = 40;
/// How much further than a level the axis goes, so that what passes it is seen to.
const HEADROOM: f64 = 1.05;
/// The plot's own coordinates.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 200.0;

/// What to draw.
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: String,
    /// What one sees, in a sentence or two.
    pub(super) about: String,
    pub(super) unit: &'static str,
    pub(super) scale: Scale,
    /// Where each value begins, seconds, and where the last one ends.
    pub(super) at: Vec<f64>,
    pub(super) until: f64,
    pub(super) series: Vec<Series>,
    pub(super) levels: Vec<Level>,
}

/// One line, area or row of bars, with a value for each of the chart's moments.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) style: Style,
    /// Which colour of the palette, from 1.
    pub(super) colour: u8,
    pub(super) values: Vec<Option<f64>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Line,
    /// A line and what is below it.
    Area,
    Bars,
    /// A line that ends in a dot where its values end before the chart does.
    Course,
}

/// A height that means something.
pub(super) struct Level {
    pub(super) name: String,
    pub(super) value: f64,
}

impl Chart {
    /// The figure as HTML.
    pub(super) fn draw(&self) -> String {
        let values = self.series.iter().flat_map(|series| series.values.iter().flatten().copied());
        let axis = Axis::over(self.scale, values.chain(self.levels.iter().map(|level| level.value * HEADROOM)));
        let mut html = String::with_capacity(16_384);
        let (id, title) = (self.id, Text(&self.title));
        let _ = write!(html, "<figure id=\"{id}\"><figcaption><h3>{title}</h3><p>{}</p></figcaption>", Text(&self.about));
        self.legend(&mut html);
        let _ = write!(
            html,
            "<div class=\"frame\"><div class=\"plot\" tabindex=\"0\" role=\"group\" aria-label=\"{title}; the arrow keys move the read-out\">"
        );
        self.svg(&axis, &mut html);
        self.letters(&axis, &mut html);
        html.push_str("<div class=\"cursor\" hidden></div><output class=\"readout\" hidden></output></div></div>");
        self.data(&mut html);
        self.table(&mut html);
        html.push_str("</figure>\n");
        html
    }

    fn legend(&self, html: &mut String) {
        let _ = write!(html, "<ul class=\"legend\"><li class=\"unit\">{}</li>", Text(self.unit));
        for series in &self.series {
            let mark = if series.style == Style::Bars { "bar" } else { "stroke" };
            let _ = write!(html, "<li><i class=\"{mark} c{}\"></i>{}</li>", series.colour, Text(&series.name));
        }
        html.push_str("</ul>");
    }

    fn svg(&self, axis: &Axis, html: &mut String) {
        let id = self.id;
        let _ = write!(
            html,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{} {}</desc>",
            Text(&self.title),
            Text(&self.about),
            Text(&self.in_words())
        );
        for tick in &axis.ticks {
            let y = y(axis, *tick).unwrap_or(HEIGHT);
            let _ = write!(html, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
        }
        for series in &self.series {
            self.shape(series, axis, html);
        }
        for level in &self.levels {
            let y = y(axis, level.value).unwrap_or(0.0);
            let _ = write!(html, "<path class=\"level\" d=\"M0 {y:.1}H{WIDTH}\"/>");
        }
        html.push_str("</svg>");
    }

    fn shape(&self, series: &Series, axis: &Axis, html: &mut String) {
        let colour = series.colour;
        if series.style == Style::Bars {
            return self.bars(series, axis, html);
        }
        let (mut line, mut area) = (String::new(), String::new());
        // From where and to where the stretch now drawn goes.
        let mut stretch: Option<(f64, f64, f64)> = None;
        let mut close = |stretch: &mut Option<(f64, f64, f64)>| {
            if let Some((from, to, _)) = stretch.take() {
                let _ = write!(area, "L{to:.1} {HEIGHT}L{from:.1} {HEIGHT}Z");
            }
        };
        let mut fill = String::new();
        for (at, value) in self.at.iter().zip(&series.values) {
            let Some(y) = value.and_then(|value| y(axis, value)) else {
                close(&mut stretch);
                continue;
            };
            let x = self.x(*at);
            let letter = if stretch.is_some() { 'L' } else { 'M' };
            let _ = write!(line, "{letter}{x:.1} {y:.1}");
            stretch = Some((stretch.map_or(x, |(from, _, _)| from), x, y));
        }
        let end = stretch;
        close(&mut stretch);
        if series.style == Style::Area && !line.is_empty() && !line[1..].contains('M') {
            let _ = write!(fill, "<path class=\"fill c{colour}\" d=\"{line}{area}\"/>");
        }
        let _ = write!(html, "{fill}<path class=\"line c{colour}\" d=\"{line}\"/>");
        if series.style == Style::Course && end.is_none() {
            let last = self.at.iter().zip(&series.values).rev().find_map(|(at, value)| Some((self.x(*at), y(axis, (*value)?)?)));
            if let Some((x, y)) = last {
                // No length and round ends: a dot that is not stretched with the plot.
                let _ = write!(html, "<path class=\"dot c{colour}\" d=\"M{x:.1} {y:.1}h0\"/>");
            }
        }
    }

    fn bars(&self, series: &Series, axis: &Axis, html: &mut String) {
        let mut path = String::new();
        for (i, value) in series.values.iter().enumerate() {
            let Some(y) = value.and_then(|value| y(axis, value)) else { continue };
            let (from, to) = (self.x(self.at[i]), self.x(self.at.get(i + 1).copied().unwrap_or(self.until)));
            let gap = (to - from) * 0.1;
            let _ = write!(path, "M{:.1} {HEIGHT}V{y:.1}H{:.1}V{HEIGHT}Z", from + gap, to - gap);
        }
        let _ = write!(html, "<path class=\"bars c{}\" d=\"{path}\"/>", series.colour);
    }

    fn x(&self, seconds: f64) -> f64 {
        (seconds / self.until.max(1e-9)).clamp(0.0, 1.0) * WIDTH
    }

    /// What is written over and beside the plot; screen readers have the description and the table.
    fn letters(&self, axis: &Axis, html: &mut String) {
        html.push_str("<div class=\"letters\" aria-hidden=\"true\">");
        for tick in &axis.ticks {
            let top = 100.0 * (1.0 - axis.height(*tick).unwrap_or(0.0));
            let _ = write!(html, "<span class=\"y\" style=\"top:{top:.1}%\">{}</span>", short(*tick));
        }
        for moment in moments(self.until) {
            let left = 100.0 * moment / self.until.max(1e-9);
            let _ = write!(html, "<span class=\"x\" style=\"left:{left:.1}%\">{}</span>", clock(moment));
        }
        for level in &self.levels {
            let height = axis.height(level.value).unwrap_or(1.0);
            // Beside its line, on the side where there is room.
            let side = if height > 0.88 { "below" } else { "above" };
            let top = 100.0 * (1.0 - height);
            let _ = write!(html, "<span class=\"name {side}\" style=\"top:{top:.1}%\">{}</span>", Text(&level.name));
        }
        html.push_str("</div>");
    }

    /// The values for the read-out.
    fn data(&self, html: &mut String) {
        let at: Vec<f64> = self.at.iter().map(|at| (at * 10.0).round() / 10.0).collect();
        let rounded = |value: &Option<f64>| value.map(|v| if v >= 100.0 { v.round() } else { (v * 1_000.0).round() / 1_000.0 });
        let series: Vec<_> = self
            .series
            .iter()
            .map(|s| serde_json::json!({ "name": s.name, "colour": s.colour, "values": s.values.iter().map(rounded).collect::<Vec<_>>() }))
            .collect();
        let data = serde_json::json!({ "at": at, "until": self.until, "unit": self.unit, "series": series });
        // A script ends at the first "</": no name may contain one.
        let _ = write!(html, "<script type=\"application/json\">{}</script>", data.to_string().replace('<', "\\u003c"));
    }

    fn table(&self, html: &mut String) {
        let every = self.at.len().div_ceil(ROWS_MAX).max(1);
        html.push_str("<details><summary>Figures as a table</summary><div class=\"wide\"><table><thead><tr><th scope=\"col\">time</th>");
        for series in &self.series {
            let _ = write!(html, "<th scope=\"col\">{}</th>", Text(&series.name));
        }
        html.push_str("</tr></thead><tbody>");
        for (i, at) in self.at.iter().enumerate().step_by(every) {
            let _ = write!(html, "<tr><th scope=\"row\">{}</th>", clock(*at));
            for series in &self.series {
                let value = series.values.get(i).copied().flatten().map_or_else(|| "–".into(), exact);
                let _ = write!(html, "<td>{value}</td>");
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table></div></details>");
    }

    /// The chart for who cannot see it.
    fn in_words(&self) -> String {
        let mut words = String::new();
        for series in &self.series {
            let peak = self
                .at
                .iter()
                .zip(&series.values)
                .filter_map(|(at, value)| value.map(|value| (value, *at)))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((value, at)) = peak {
                let _ = write!(words, "{}: at most {} at {}. ", series.name, exact(value), clock(at));
            }
        }
        for level in &self.levels {
            let _ = write!(words, "{}: {}. ", level.name, exact(level.value));
        }
        words
    }
}

/// A value's place in the plot's own coordinates.
fn y(axis: &Axis, value: f64) -> Option<f64> {
    axis.height(value).map(|height| HEIGHT * (1.0 - height))
}
