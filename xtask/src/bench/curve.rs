//! Curves: several panels of lines over one quantity, for growth and overload.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::growth::{GrowthReport, curve, figures};
use super::overload::OverloadReport;
use super::run::{Run, Scenario};
use crate::Outcome;

const PANEL: (u32, u32) = (380, 320);
const COLUMNS: usize = 3;

/// A name and points.
type Series = (String, Vec<(f64, f64)>);

/// One picture of several.
struct Panel {
    caption: String,
    is_x_logarithmic: bool,
    series: Vec<Series>,
}

impl Panel {
    fn new(caption: &str, is_x_logarithmic: bool, series: Vec<Series>) -> Self {
        Self { caption: caption.to_owned(), is_x_logarithmic, series }
    }
}

/// Draws growth: every engine a line.
///
/// # Errors
/// When the file cannot be written.
pub fn write_growth(reports: &[GrowthReport], file: &Path) -> Outcome<()> {
    let of = |caption: &str, points: &dyn Fn(&GrowthReport) -> Vec<(f64, f64)>| {
        let series = reports.iter().map(|report| (report.engine.to_owned(), points(report)));
        Panel::new(caption, true, series.collect())
    };
    let rate = |run: &Run| Some(run.rate);
    let p99 = |run: &Run| run.latency_ms.map(|latency| latency[1]);
    let panels = [
        of("deposits a second, by wallets", &|report| curve(report, Scenario::Deposit, rate)),
        of("p99 of a deposit, ms", &|report| curve(report, Scenario::Deposit, p99)),
        of("database, MB", &|report| figures(report, "megabytes")),
        of("memory of the server, MB", &|report| figures(report, "memory_mb")),
        of("start to first answer, s", &|report| figures(report, "start_again_seconds")),
        of("verify, s", &|report| figures(report, "verify_seconds")),
    ];
    write(&panels, file)
}

/// Draws overload: one row an engine.
///
/// # Errors
/// When the file cannot be written.
pub fn write_overload(reports: &[OverloadReport], file: &Path) -> Outcome<()> {
    let mut panels = Vec::new();
    for report in reports {
        let of = |figure: &dyn Fn(&super::overload::Step) -> f64| {
            report.medians().iter().map(|step| (step.share, figure(step))).collect::<Vec<_>>()
        };
        let applied = of(&|step| step.found.applied_per_s);
        let offered = of(&|step| f64::from(step.offered));
        let named = |what: &str| format!("{}: {what}, by load / capacity", report.engine);
        let series = vec![("applied".to_owned(), applied), ("offered".to_owned(), offered)];
        panels.push(Panel::new(&named("a second"), false, series));
        let lost = [
            ("503".to_owned(), of(&|step| step.found.refused_percent)),
            ("not sent".to_owned(), of(&|step| step.found.given_up_percent)),
        ];
        panels.push(Panel::new(&named("%"), false, lost.into()));
        let p99 = of(&|step| step.found.p99_ms);
        panels.push(Panel::new(&named("p99 of applied, ms"), false, vec![("p99".to_owned(), p99)]));
    }
    write(&panels, file)
}

fn write(panels: &[Panel], file: &Path) -> Outcome<()> {
    let rows = panels.len().div_ceil(COLUMNS).max(1);
    let size = (PANEL.0 * u32::try_from(COLUMNS)?, PANEL.1 * u32::try_from(rows)?);
    let canvas = SVGBackend::new(file, size).into_drawing_area();
    canvas.fill(&WHITE)?;
    for (panel, area) in panels.iter().zip(canvas.split_evenly((rows, COLUMNS))) {
        if panel.series.iter().any(|(_, points)| !points.is_empty()) {
            draw(panel, &area)?;
        }
    }
    canvas.present()?;
    Ok(())
}

fn draw(panel: &Panel, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Outcome<()> {
    let points = || panel.series.iter().flat_map(|(_, points)| points);
    let (left, right) = points().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
    let top = points().fold(0.0, |high: f64, (_, y)| high.max(*y)).max(1e-3) * 1.1;
    // The axis is that of the powers where sizes differ by factors.
    let place = |x: f64| if panel.is_x_logarithmic { x.log10() } else { x };
    let (left, right) = (place(left), place(right).max(place(left) + 0.1));
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.caption, ("sans-serif", 14))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(left..right, 0.0..top)?;
    let label = |x: &f64| if panel.is_x_logarithmic { format!("{:.0}", 10_f64.powf(*x)) } else { format!("{x:.2}") };
    chart.configure_mesh().x_labels(5).x_label_formatter(&label).draw()?;
    for (index, (name, points)) in panel.series.iter().enumerate() {
        let colour = Palette99::pick(index).stroke_width(2);
        let placed: Vec<(f64, f64)> = points.iter().map(|(x, y)| (place(*x), *y)).collect();
        chart.draw_series(placed.iter().map(|point| Circle::new(*point, 3, BLACK.mix(0.6).filled())))?;
        chart
            .draw_series(LineSeries::new(placed, colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_written_also_of_a_single_point() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.svg");
        let one = Panel::new("one point", true, vec![("a".to_owned(), vec![(1000.0, 5.0)])]);
        let none = Panel::new("none", false, vec![("b".to_owned(), Vec::new())]);
        write(&[one, none], &file).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("one point"));
    }
}
