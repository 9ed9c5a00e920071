//! Tests of packing: the place of every vector, its bounds, Gram matrices and blocks.

use half::bf16;
use proptest::prelude::*;
use uard_linalg::panels::{ColumnPanels, Element, PANEL, RowPanels, padded_depth, panels_for};

use super::super::fragments::Part;
use super::super::layout::{BLOCK_COLUMNS, Layout, gram_stride};
use super::super::rounding::{is_finite, norm, residual};
use super::*;

/// Counts with which entries cross panels, or leave or fill the last panel of a block.
const COUNTS: [&[usize]; 5] = [&[], &[1], &[16, 16], &[5, 1, 20, 17, 2], &[280, 9, 300, 1]];
const WIDTHS: [usize; 4] = [1, 31, 32, 65];

fn cases() -> impl Iterator<Item = (Entries, Kind, Precision)> {
    let counts = if cfg!(miri) { &COUNTS[..4] } else { &COUNTS };
    let shapes = counts
        .iter()
        .flat_map(|counts| WIDTHS.map(|width| (*counts, width)));
    shapes.flat_map(|(counts, width)| {
        let entries = move || Entries::new(counts, width);
        KINDS
            .into_iter()
            .flat_map(move |kind| PRECISIONS.map(|precision| (entries(), kind, precision)))
    })
}

/// Panels filled number by number, as `uard_linalg::panels` defines them.
fn reference<T: Element>(entries: &Entries, packed: &Fragments) -> Vec<T> {
    let depth = padded_depth(entries.width);
    let mut panels = vec![T::default(); packed.layout().panels() * PANEL * depth];
    for (entry, &count) in entries.counts.iter().enumerate() {
        for fragment in 0..count {
            let at = packed.layout().places()[entry] + fragment;
            let row = entries.whole().row(entry, fragment);
            match packed.layout().kind() {
                Kind::Regions => ColumnPanels::place(&mut panels, depth, at, row),
                Kind::Words => RowPanels::place(&mut panels, depth, at, row),
            }
        }
    }
    panels
}

#[test]
fn panels_are_those_filled_number_by_number() {
    for (entries, kind, precision) in cases() {
        let packed = entries.packed(kind, precision);
        let what = format!("{kind:?} {precision} {:?}", entries.counts);
        if precision.needs_f32() {
            assert_eq!(
                packed.panels::<f32>(),
                reference::<f32>(&entries, &packed),
                "{what}"
            );
        }
        if precision.needs_bf16() {
            assert_eq!(
                packed.panels::<bf16>(),
                reference::<bf16>(&entries, &packed),
                "{what}"
            );
        }
        for part in Part::ALL {
            let bytes = packed.part(part).as_bytes();
            assert!(bytes.is_empty() || part.is_needed(precision), "{what}");
            assert_eq!(bytes.as_ptr() as usize % 64, 0, "{what}");
        }
    }
}

#[test]
fn exact_serves_every_precision_and_the_others_their_own() {
    let entries = Entries::new(&[2], 3);
    for packed_for in PRECISIONS {
        let packed = entries.packed(Kind::Words, packed_for);
        for asked in PRECISIONS {
            let expected = packed_for == Precision::Exact || packed_for == asked;
            assert_eq!(packed.supports(asked), expected, "{packed_for} {asked}");
        }
    }
}

#[test]
fn gram_matrices_hold_the_products_of_an_entry_and_zeros() {
    // For sums in f32 of at most 65 products below 1.
    const ROUNDING: f64 = 1e-5;
    for (entries, kind, precision) in cases() {
        let packed = entries.packed(kind, precision);
        for (entry, &count) in entries.counts.iter().enumerate() {
            let gram = packed.gram(entry);
            let stride = gram_stride(count);
            assert_eq!(gram.len(), count * stride);
            for (a, row) in gram.chunks(stride).enumerate() {
                for (b, &found) in row[..count].iter().enumerate() {
                    let batch = entries.whole();
                    let pairs = batch.row(entry, a).iter().zip(batch.row(entry, b));
                    let expected: f64 = pairs.map(|(x, y)| f64::from(x * y)).sum();
                    assert!((f64::from(found) - expected).abs() < ROUNDING);
                    assert_eq!(found, gram[b * stride + a], "symmetric to the last bit");
                }
                assert!(row[count..].iter().all(|&x| x == 0.0));
            }
        }
    }
}

#[test]
fn bounds_are_stored_for_every_fragment() {
    for (entries, kind, _) in cases() {
        let packed = entries.packed(kind, Precision::Exact);
        for (entry, &count) in entries.counts.iter().enumerate() {
            let rows = (0..count).map(|fragment| entries.whole().row(entry, fragment));
            let expected: Vec<f32> = rows.clone().map(residual).collect();
            assert_eq!(packed.bounds(Part::Residuals, entry), expected);
            let expected: Vec<f32> = rows.map(norm).collect();
            assert_eq!(packed.bounds(Part::Norms, entry), expected);
        }
    }
}

#[test]
fn rounding_is_that_of_half_for_every_upper_half() {
    for upper in (0..=u16::MAX).step_by(if cfg!(miri) { 257 } else { 1 }) {
        for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let number = f32::from_bits(u32::from(upper) << 16 | lower);
            if number.is_finite() {
                let found = <bf16 as Element>::from_f32(number);
                assert_eq!(found, bf16::from_f32(number), "{number:e}");
            }
        }
    }
}

#[test]
fn a_vector_is_finite_if_every_number_is() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in 0..40 {
            let mut vector = [1.0; 40];
            assert!(is_finite(&vector));
            vector[at] = bad;
            assert!(!is_finite(&vector));
        }
    }
}

#[test]
fn bounds_of_a_vector_that_loses_nothing_are_exact_or_one_step_above() {
    assert_eq!(residual(&[1.0, -0.5, 0.0]), 0.0);
    assert_eq!(norm(&[0.0, 0.0]), 0.0);
    assert_eq!(norm(&[3.0, 4.0]), 5.0f32.next_up());
    assert_eq!(norm(&[f32::from_bits(1)]), f32::from_bits(2));
}

/// Whole numbers, whose squares and their sums f64 represents exactly.
fn whole_numbers() -> impl Strategy<Value = Vec<i32>> {
    prop::collection::vec(-4000..4000i32, 0..70)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bounds_are_above_and_tight(numbers in whole_numbers()) {
        // Squares and sums are exact in f64, so the test itself does not round.
        let vector: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
        let square = |x: f32| f64::from(x) * f64::from(x);
        let norms: f64 = vector.iter().map(|&x| square(x)).sum();
        let lost = |x: f32| x - bf16::from_f32(x).to_f32();
        let residuals: f64 = vector.iter().map(|&x| square(lost(x))).sum();
        for (bound, squared) in [(norm(&vector), norms), (residual(&vector), residuals)] {
            prop_assert!(square(bound) >= squared, "{bound} {squared}");
            let below = bound.next_down().next_down();
            prop_assert!(squared == 0.0 || square(below) < squared, "{bound} {squared}");
        }
    }

    #[test]
    fn blocks_hold_every_image_once_and_few_columns(
        counts in prop::collection::vec(prop_oneof![1..60usize, 1..400usize], 0..60),
    ) {
        let mut layout = Layout::new(Kind::Regions);
        counts.iter().for_each(|&count| layout.push(count));
        let images: Vec<usize> = layout.blocks().iter().flat_map(|b| b.images.clone()).collect();
        prop_assert_eq!(images, (0..counts.len()).collect::<Vec<_>>());
        let mut panel = 0;
        for block in layout.blocks() {
            prop_assert_eq!(block.panels.start, panel, "no panel between blocks");
            panel = block.panels.end;
            let columns: usize = counts[block.images.clone()].iter().sum();
            prop_assert!(columns <= BLOCK_COLUMNS || block.images.len() == 1);
            prop_assert_eq!(block.panels.len(), panels_for(columns));
            let mut place = block.panels.start * PANEL;
            for image in block.images.clone() {
                prop_assert_eq!(layout.places()[image], place, "no gap between images");
                place += counts[image];
            }
        }
        prop_assert_eq!(layout.panels(), panel);
    }

    #[test]
    fn words_lie_without_a_gap(counts in prop::collection::vec(1..40usize, 0..60)) {
        let mut layout = Layout::new(Kind::Words);
        counts.iter().for_each(|&count| layout.push(count));
        let mut next = 0;
        for (entry, count) in counts.iter().enumerate() {
            prop_assert_eq!(layout.places_of(entry), next..next + count);
            next += count;
        }
        prop_assert_eq!(layout.panels(), panels_for(next));
    }

    #[test]
    fn batches_give_the_bytes_of_the_whole(
        counts in prop::collection::vec(prop_oneof![1..12usize, 30..50usize], 1..20),
        cuts in prop::collection::vec(0..20usize, 0..6),
        (kind, precision) in (prop::sample::select(&KINDS), prop::sample::select(&PRECISIONS)),
    ) {
        let entries = Entries::new(&counts, 33);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(counts.len())).collect();
        cuts.extend([0, counts.len()]);
        cuts.sort_unstable();
        let mut builder = builder(kind, 33, precision);
        for cut in cuts.windows(2) {
            builder.push(entries.batch(cut[0]..cut[1])).unwrap();
        }
        let whole = encoded(&entries.packed(kind, precision));
        prop_assert!(encoded(&builder.finish()) == whole);
    }
}

#[test]
fn a_refused_batch_leaves_what_was_packed_as_it_was() {
    let entries = Entries::new(&[3, 1, 4], 5);
    let mut builder = builder(Kind::Words, 5, Precision::Exact);
    builder.push(entries.batch(0..2)).unwrap();
    let mut broken = Entries::new(&[2, 3], 5);
    broken.numbers[(3 + 1) * 5] = f32::INFINITY;
    let message = builder.push(broken.whole()).unwrap_err().to_string();
    assert!(
        message.contains("words: entry 3, fragment 1 is not finite"),
        "{message}"
    );
    let other = Entries::new(&[1], 6);
    let message = builder.push(other.whole()).unwrap_err().to_string();
    assert!(
        message.contains("width 5, found a batch of width 6"),
        "{message}"
    );
    builder.push(entries.batch(2..3)).unwrap();
    let expected = encoded(&entries.packed(Kind::Words, Precision::Exact));
    assert!(encoded(&builder.finish()) == expected);
}

#[test]
fn widths_and_counts_have_an_end() {
    for width in [0, (1 << 24) + 1, usize::MAX] {
        let message = Shape::new(width, Precision::F32).unwrap_err().to_string();
        assert!(
            message.contains(&format!("is {width}, expected 1 to 16777216")),
            "{message}"
        );
    }
    let long = Entries::new(&[(1 << 16) + 1], 1);
    let mut builder = builder(Kind::Regions, 1, Precision::F32);
    let message = builder.push(long.whole()).unwrap_err().to_string();
    assert!(
        message.contains("counts 65537 fragments, expected 1 to 65536"),
        "{message}"
    );
}

#[test]
fn images_copied_from_packed_regions_have_the_bytes_of_images_packed_again() {
    let largest = if cfg!(miri) { 40 } else { 280 };
    let counts = [5, 1, 20, largest, 9];
    let chosen = [3, 0, 0, 4];
    for width in WIDTHS {
        for precision in PRECISIONS {
            let entries = Entries::new(&counts, width);
            let packed = entries.packed(Kind::Regions, precision);
            let mut again = builder(Kind::Regions, width, precision);
            let mut copied = builder(Kind::Regions, width, precision);
            for images in [&chosen[..3], &chosen[3..]] {
                for &image in images {
                    again.push(entries.batch(image..image + 1)).unwrap();
                }
                copied.push_packed(&packed, images).unwrap();
            }
            assert_eq!(encoded(&copied.finish()), encoded(&again.finish()));
        }
    }
}

#[test]
fn images_of_another_width_or_precision_are_not_copied() {
    let packed = Entries::new(&[2, 1], 4).packed(Kind::Regions, Precision::F32);
    let mut wider = builder(Kind::Regions, 5, Precision::F32);
    assert!(wider.push_packed(&packed, &[0]).is_err());
    let mut other = builder(Kind::Regions, 4, Precision::Bf16);
    assert!(other.push_packed(&packed, &[0]).is_err());
    let mut same = builder(Kind::Regions, 4, Precision::F32);
    assert!(same.push_packed(&packed, &[0, 2]).is_err());
    assert_eq!(same.finish().layout().counts().len(), 0);
}

#[test]
fn vectors_are_read_back_as_they_were_packed() {
    let entries = Entries::new(&[3, 17, 1], 37);
    for precision in PRECISIONS {
        let packed = entries.packed(Kind::Regions, precision);
        for (entry, &count) in entries.counts.iter().enumerate() {
            let start = entry * entries.longest * entries.width;
            let expected = &entries.numbers[start..start + count * entries.width];
            let rounded = |value: &f32| match precision {
                Precision::Bf16 => bf16::from_f32(*value).to_f32(),
                _ => *value,
            };
            let expected: Vec<f32> = expected.iter().map(rounded).collect();
            assert_eq!(packed.vectors(entry), expected, "{precision}");
        }
    }
}
