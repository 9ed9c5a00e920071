//! The product of relevance alone, which every exact matcher computes; the rest of a kernel's time is
//! attention.

use half::bf16;
use rayon::prelude::*;
use uard_attention::Precision;
use uard_linalg::panels::{
    ColumnPanels, Element, Instructions, PANEL, RowPanels, padded_depth, panels_for, product,
};

use super::data::Data;
use super::entry::RaceEntry;
use crate::race::Contestant;
use crate::report::Row;
use crate::suites::BenchContext;
use crate::workload::REGIONS;

/// The number of images whose regions are multiplied together: 18 panels, as in packed regions.
const IMAGES: usize = 8;

/// The number of panels of words in a tile, as in a search.
const TILE: usize = 2;

/// The number of panels of words in a task.
const TASK: usize = 64;

/// An entry that multiplies all fragments tile by tile, without keeping the results.
///
/// # Errors
/// If candle fails.
pub fn entry<'a>(
    context: &BenchContext,
    data: &Data,
    precision: Precision,
) -> anyhow::Result<RaceEntry<'a>> {
    let row = Row {
        name: Instructions::best().set().name().to_owned(),
        rule: "product alone".to_owned(),
        precision: precision.to_string(),
        ours: true,
        threads: context.threads,
        ..Row::default()
    };
    let contestant = match precision {
        Precision::Bf16 => contestant::<bf16>(data)?,
        _ => contestant::<f32>(data)?,
    };
    Ok(RaceEntry::on(data, row, contestant))
}

fn contestant<'a, T: Element>(data: &Data) -> anyhow::Result<Contestant<'a>> {
    let words = data.words.valid_rows()?.to_vec2::<f32>()?;
    let regions = data.regions.valid_rows()?.to_vec2::<f32>()?;
    let depth = padded_depth(data.regions.width());
    let words = packed::<T>(&words, depth, RowPanels::place);
    let blocks: Vec<Vec<T>> = regions
        .chunks(IMAGES * REGIONS)
        .map(|block| packed::<T>(block, depth, ColumnPanels::place))
        .collect();
    let instructions = Instructions::best();
    Ok(Contestant::new("product alone", move || {
        let words = RowPanels::new(&words, depth);
        let tasks: Vec<(usize, usize)> = (0..blocks.len())
            .flat_map(|block| (0..words.panels()).step_by(TASK).map(move |at| (block, at)))
            .collect();
        tasks
            .into_par_iter()
            .for_each_init(Vec::new, |tile, (block, first)| {
                let columns = ColumnPanels::new(&blocks[block], depth);
                let stride = columns.panels() * PANEL;
                tile.resize(TILE * PANEL * stride, 0.0);
                let end = words.panels().min(first + TASK);
                for at in (first..end).step_by(TILE) {
                    let rows = words.slice(at..end.min(at + TILE));
                    product(instructions, rows, columns, tile, stride);
                    std::hint::black_box(&tile);
                }
            });
        Ok(())
    }))
}

fn packed<T: Element>(
    rows: &[Vec<f32>],
    depth: usize,
    place: fn(&mut [T], usize, usize, &[f32]),
) -> Vec<T> {
    let mut values = vec![T::default(); panels_for(rows.len()) * PANEL * depth];
    for (at, row) in rows.iter().enumerate() {
        place(&mut values, depth, at, row);
    }
    values
}
