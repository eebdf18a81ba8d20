//! The plot: rates with every run as a point, and latencies by percentile.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::rounds::EngineReport;
use super::run::Scenario;
use super::spread::{scenarios, spread};
use crate::Outcome;

const WIDTH: u32 = 2000;
const HEIGHT_PER_ENGINE: u32 = 460;
const PERCENTILES: [&str; 4] = ["p50", "p99", "p99.9", "max"];

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws one row an engine.
///
/// # Errors
/// When the file cannot be written.
pub fn write(engines: &[EngineReport], file: &Path) -> Outcome<()> {
    let rows = engines.len().max(1);
    let height = HEIGHT_PER_ENGINE * u32::try_from(rows)?;
    let canvas = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    canvas.fill(&WHITE)?;
    for (engine, row) in engines.iter().zip(canvas.split_evenly((rows, 1))) {
        let halves = row.split_evenly((1, 2));
        draw_rates(engine, &halves[0])?;
        draw_latencies(engine, &halves[1])?;
    }
    canvas.present()?;
    Ok(())
}

fn draw_rates(engine: &EngineReport, area: &Canvas<'_>) -> Outcome<()> {
    let scenarios = scenarios(&engine.runs);
    let highest = engine.runs.iter().map(|run| run.rate).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: answers a second, median and every run", engine.name), ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..places(scenarios.len()), 0.0..highest * 1.1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(scenarios.len() * 2 + 1)
        .x_label_formatter(&|at| name_at(&scenarios, *at))
        .draw()?;
    for (index, scenario) in scenarios.iter().enumerate() {
        let left = places(index);
        let colour = Palette99::pick(index);
        if let Some(spread) = spread(&engine.runs, *scenario, |run| Some(run.rate)) {
            let corners = [(left + 0.2, 0.0), (left + 0.8, spread.median)];
            chart.draw_series([Rectangle::new(corners, colour.mix(0.6).filled())])?;
        }
        let runs = engine.runs.iter().filter(|run| run.scenario == *scenario);
        chart.draw_series(runs.map(|run| Circle::new((left + 0.5, run.rate), 3, BLACK.mix(0.6).filled())))?;
    }
    Ok(())
}

fn draw_latencies(engine: &EngineReport, area: &Canvas<'_>) -> Outcome<()> {
    let latencies = |place: usize| engine.runs.iter().filter_map(move |run| run.latency_ms.map(|all| all[place]));
    let longest = latencies(3).fold(1.0, f64::max);
    let shortest = latencies(0).fold(longest, f64::min).max(0.01);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: latency by percentile, ms, medians", engine.name), ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..3.0_f64, (shortest * 0.8..longest * 1.25).log_scale())?;
    let label = |at: &f64| {
        let place = PERCENTILES.iter().enumerate().find(|(index, _)| (places(*index) - at).abs() < 0.01);
        place.map_or_else(String::new, |(_, name)| (*name).to_owned())
    };
    chart.configure_mesh().x_labels(4).x_label_formatter(&label).draw()?;
    for (index, scenario) in scenarios(&engine.runs).into_iter().enumerate() {
        let median = |place: usize| spread(&engine.runs, scenario, |run| run.latency_ms.map(|all| all[place]));
        let points: Vec<(f64, f64)> =
            (0..4).filter_map(|place| Some((places(place), median(place)?.median.max(shortest)))).collect();
        if points.is_empty() {
            continue;
        }
        let colour = Palette99::pick(index).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points, colour))?
            .label(scenario.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}

/// A count as a place on an axis.
fn places(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The scenario whose bar's middle is here.
fn name_at(scenarios: &[Scenario], at: f64) -> String {
    let found = scenarios.iter().enumerate().find(|(index, _)| (places(*index) + 0.5 - at).abs() < 0.01);
    found.map_or_else(String::new, |(_, scenario)| scenario.name())
}
