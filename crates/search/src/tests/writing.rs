//! Writers and readers at the same time, compaction, numbers, and batches that are refused.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::index::UnmappedSegment;
use crate::segment::{self, Means};
use crate::{CompactionCounts, Error};

#[test]
fn selected_regions_stay_readable_after_compaction() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let photos = made(&["/photos/a.jpg", "/photos/b.jpg", "/photos/c.jpg"]);
    for photo in &photos {
        add(&mut writer, std::slice::from_ref(photo)).unwrap();
    }
    let mut reader = Index::open(folder.path()).unwrap();
    let before = reader.select(&Filter::default()).unwrap();
    let all_bytes = |selection: &crate::Selection| -> Vec<Vec<u8>> {
        selection
            .segments
            .iter()
            .map(|segment| bytes(segment.regions()))
            .collect()
    };
    let contents = all_bytes(&before);
    assert_eq!(contents.len(), 3);
    writer.remove(&["/photos/b.jpg".into()]).unwrap();
    let compacted = writer.compact().unwrap();
    let expected = CompactionCounts {
        merged: 3,
        written: 1,
        dropped: 1,
    };
    assert_eq!(compacted, expected);
    assert_eq!(writer.compact().unwrap(), CompactionCounts::default());
    assert_eq!(all_bytes(&before), contents);
    let after = reader.select(&Filter::default()).unwrap();
    let [segment] = &after.segments[..] else {
        panic!("one segment");
    };
    assert_eq!(segment.photos, [PhotoId(1), PhotoId(3)]);
    let both = [photos[0].clone(), photos[2].clone()];
    let packed = segment_of(&both);
    assert_eq!(bytes(segment.regions()), packed);
    let size = reader.size().unwrap();
    assert_eq!((size.photos, size.segments, size.packed_images), (2, 1, 2));
    assert_eq!(size.segment_bytes, packed.len() as u64);
}

/// The means of all photos of an index, in the order of the selection.
fn means(index: &mut Index) -> Vec<Vec<f32>> {
    let selection = index.select(&Filter::default()).unwrap();
    let mut found = Vec::new();
    for segment in &selection.segments {
        let Means { packed, first } = segment.mapped.means().unwrap();
        for position in &segment.positions {
            let mean = packed.image(first + position).unwrap();
            let numbers = mean.rows().flatten_all().unwrap().to_vec1().unwrap();
            found.push(numbers);
        }
    }
    found
}

/// The largest difference of two lists of vectors.
fn difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The mean of the regions of each photo, scaled to unit length.
fn expected_means(photos: &[Made]) -> Vec<Vec<f32>> {
    let unit = |numbers: &[f32]| -> Vec<f32> {
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        numbers.iter().map(|x| x / length).collect()
    };
    let means = photos.iter().map(|made| {
        let regions: Vec<Vec<f32>> = made.numbers.chunks(WIDTH).map(unit).collect();
        let sum = |at: usize| regions.iter().map(|region| region[at]).sum();
        unit(&(0..WIDTH).map(sum).collect::<Vec<f32>>())
    });
    means.collect()
}

/// Writes the file that an earlier version has written for a segment of these photos: without means.
fn write_earlier_segment(folder: &Path, number: i64, photos: &[Made]) {
    let earlier = PackedRegions::pack(&regions(photos), model().precision).unwrap();
    earlier.write(&segment::path(folder, number)).unwrap();
}

#[test]
fn segments_have_the_mean_of_each_photo_and_those_without_get_it() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let photos = made(&[
        "/photos/a.jpg",
        "/photos/b.jpg",
        "/photos/c.jpg",
        "/photos/d.jpg",
    ]);
    add(&mut writer, &photos[..3]).unwrap();
    add(&mut writer, &photos[3..]).unwrap();
    let expected = expected_means(&photos);
    let found = means(writer.index_mut());
    assert!(difference(&found, &expected) < 1e-5);

    // One segment of an earlier version and one of this.
    write_earlier_segment(folder.path(), 1, &photos[..3]);
    let mut reader = Index::open(folder.path()).unwrap();
    assert_eq!(reader.check(), []);
    assert!(difference(&means(&mut reader), &expected) < 1e-5);
    // An index that adopts them stores all means.
    let adopting = self::folder();
    let mut other = Index::create(adopting.path(), &model()).unwrap();
    let folders = [folder.path().to_owned()];
    other
        .adopt(&folders, &mut |_| {}, &AtomicBool::new(false))
        .unwrap();
    assert!(difference(&means(other.index_mut()), &expected) < 1e-5);
    let selection = other.index_mut().select(&Filter::default()).unwrap();
    assert!(selection.segments.iter().all(|it| it.mapped.has_means()));

    // A compaction writes only the segment without means again, if both are large.
    let mut writer = reopened(writer);
    let one_written = CompactionCounts {
        merged: 1,
        written: 3,
        dropped: 0,
    };
    assert_eq!(writer.compact_to(1).unwrap(), one_written);
    assert_eq!(writer.compact_to(1).unwrap(), CompactionCounts::default());
    let selection = writer.index_mut().select(&Filter::default()).unwrap();
    assert!(selection.segments.iter().all(|it| it.mapped.has_means()));
    let mut found = means(writer.index_mut());
    // The new segments have higher numbers.
    found.rotate_left(1);
    assert!(difference(&found, &expected) < 1e-5);
}

/// Closes and opens a writer, which forgets its mapped segments.
fn reopened(writer: Writer) -> Writer {
    let folder = writer.index().folder().to_owned();
    drop(writer);
    Writer::open(&folder).unwrap()
}

#[test]
fn a_segment_that_was_merged_during_a_selection_is_no_damage() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let photos = made(&["/photos/a.jpg", "/photos/b.jpg"]);
    add(&mut writer, &photos[..1]).unwrap();
    add(&mut writer, &photos[1..]).unwrap();
    let mut reader = Index::open(folder.path()).unwrap();
    let rows = reader.selected_rows(&Filter::default()).unwrap();
    writer.compact().unwrap();
    assert!(matches!(
        reader.map_segments(rows),
        Err(UnmappedSegment::Missing { number: 1, .. })
    ));
    assert!(!reader.has_segment(1).unwrap() && reader.has_segment(3).unwrap());
    assert_eq!(reader.select(&Filter::default()).unwrap().photos(), 2);
}

#[test]
fn readers_select_while_segments_are_merged_and_removed() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let photos = made(&["/photos/a.jpg", "/photos/b.jpg"]);
    add(&mut writer, &photos).unwrap();
    let path = folder.path();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut seen = 0;
            while seen < 300 {
                // Opened each time, so that no segment is mapped already.
                let selection = Index::open(path)
                    .unwrap()
                    .select(&Filter::default())
                    .unwrap();
                assert_eq!(selection.photos(), 2);
                seen += 1;
            }
        });
        while !reader.is_finished() {
            add(&mut writer, &photos[..1]).unwrap();
            assert!(writer.compact().unwrap().merged > 0);
        }
        reader.join().unwrap();
    });
}

#[test]
fn compaction_ends_segments_at_the_given_size() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let mut rng = rng(1);
    for number in 0..30 {
        let path = format!("/photos/{number}.jpg");
        add(&mut writer, &[Made::new(Path::new(&path), &mut rng)]).unwrap();
    }
    let before = State::read(writer.index_mut());
    let compacted = writer.compact_to(16 << 10).unwrap();
    assert!((3..15).contains(&compacted.written), "{compacted:?}");
    assert_eq!(State::read(writer.index_mut()), before);
    assert_eq!(writer.index().check(), []);
}

#[test]
fn no_number_is_used_for_two_photos() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let photos = made(&["/photos/a.jpg"]);
    assert_eq!(add(&mut writer, &photos).unwrap(), [PhotoId(1)]);
    // A photo that replaces another at its path keeps the number.
    assert_eq!(add(&mut writer, &photos).unwrap(), [PhotoId(1)]);
    writer.remove(&["/photos/a.jpg".into()]).unwrap();
    drop(writer);
    let mut writer = Writer::open(folder.path()).unwrap();
    assert!(add(&mut writer, &photos).unwrap()[0] > PhotoId(1));
    assert_eq!(
        writer.index().photo_at(Path::new("/photos/b.jpg")).unwrap(),
        None
    );
    let found = writer
        .index()
        .photo_at(Path::new("/photos/a.jpg"))
        .unwrap()
        .unwrap();
    assert_eq!(found.content, photos[0].photo.content);
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let refused = Writer::open(folder.path()).unwrap_err();
    let holder = format!("process {} is writing there", std::process::id());
    assert!(refused.to_string().contains(&holder), "{refused}");
    let mut reader = Index::open(folder.path()).unwrap();
    add(&mut writer, &made(&["/photos/a.jpg"])).unwrap();
    assert_eq!(reader.select(&Filter::default()).unwrap().photos(), 1);
}

#[test]
fn another_model_is_refused_with_a_remedy() {
    let folder = folder();
    drop(Index::create(folder.path(), &model()).unwrap());
    let index = Index::open(folder.path()).unwrap();
    index.expect_model("model").unwrap();
    let error = index.expect_model("other").unwrap_err().to_string();
    assert!(
        error.contains("made with the model model, asked with the model other"),
        "{error}"
    );
    assert!(error.contains("index the photos again"), "{error}");
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let photos = made(&["/photos/a.jpg", "/photos/b.jpg"]);
    let one = writer.add(&[photos[0].photo.clone()], &regions(&photos));
    assert!(matches!(
        one,
        Err(Error::ImageCount {
            photos: 1,
            images: 2
        })
    ));
    let mut boxes = photos.clone();
    boxes[1].photo.preview.boxes.pop();
    assert!(matches!(
        add(&mut writer, &boxes),
        Err(Error::BoxCount { .. })
    ));
    let wide = Tensor::ones((1, 1, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
    let wide = Regions::normalized(&wide, vec![1]).unwrap();
    let mut photo = photos[0].photo.clone();
    photo.preview.boxes.truncate(1);
    assert!(matches!(writer.add(&[photo], &wide), Err(Error::Packed(_))));
    let file = photos[0].photo.file.clone();
    let unknown = MovedPhoto {
        id: PhotoId(7),
        file,
    };
    assert!(matches!(
        writer.move_photos(&[unknown]),
        Err(Error::NoPhoto { .. })
    ));
    assert_eq!(State::read(writer.index_mut()), State::default());
    let none = ModelIdentity {
        precision: Precision::F16,
        ..model()
    };
    assert!(Index::create(&folder.path().join("other"), &none).is_err());
}
