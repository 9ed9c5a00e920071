//! Tests of HDF5 dumps with a fixed and with a varying number of regions.

use hdf5_pure::FileBuilder;

use super::*;

/// The rows of `spatial_features`: boxes, widths and heights, divided by the picture's size.
fn spatial(entry: &Entry) -> Vec<f32> {
    let size = entry.size.unwrap();
    let (height, width) = (size.height as f32, size.width as f32);
    let scaled = |&[x1, y1, x2, y2]: &[f32; 4]| {
        let (w, h) = ((x2 - x1) / width, (y2 - y1) / height);
        [x1 / width, y1 / height, x2 / width, y2 / height, w, h]
    };
    entry.boxes.iter().flatten().flat_map(scaled).collect()
}

/// Images 0 and 3, which have two regions each.
fn fixed() -> [Entry; 2] {
    let renamed = |id: usize, n: usize| Entry {
        id: id.to_string(),
        ..image(n)
    };
    [renamed(0, 0), renamed(1, 3)]
}

fn dataset(file: &mut FileBuilder, name: &str, shape: &[u64], values: &[f32]) {
    file.create_dataset(name)
        .with_f32_data(values)
        .with_shape(shape);
}

fn write(dir: &TempDir, images: &[Entry], leading: &[u64]) -> FileBuilder {
    let shape = |width: usize| [leading, &[width as u64]].concat();
    let mut file = FileBuilder::new();
    let all = |values: fn(&Entry) -> Vec<f32>| images.iter().flat_map(values).collect::<Vec<f32>>();
    let boxes = all(|entry| entry.boxes.iter().flatten().flatten().copied().collect());
    dataset(
        &mut file,
        "image_features",
        &shape(WIDTH),
        &all(|e| e.features.clone()),
    );
    dataset(&mut file, "image_bb", &shape(4), &boxes);
    dataset(&mut file, "spatial_features", &shape(6), &all(spatial));
    let _ = dir;
    file
}

fn imported_file(dir: &TempDir, file: FileBuilder) -> Result<TempDir> {
    let path = dir.path().join("trainval.hdf5");
    file.write(&path).unwrap();
    imported(Format::Hdf5, &[path], Layout::Store)
}

#[test]
fn fixed_and_ragged_files_give_their_images() {
    let dir = tempfile::tempdir().unwrap();
    let out = imported_file(&dir, write(&dir, &fixed(), &[2, 2])).unwrap();
    assert_eq!(entries(out.path()), fixed());
    let images: Vec<Entry> = (0..IMAGES).map(image).collect();
    let mut rows = Vec::new();
    for entry in &images {
        let from = rows.last().copied().unwrap_or(0);
        rows.extend([from, from + entry.boxes.as_ref().unwrap().len() as i64]);
    }
    let mut file = write(&dir, &images, &[*rows.last().unwrap() as u64]);
    let shape = [IMAGES as u64, 2];
    file.create_dataset("pos_boxes")
        .with_i64_data(&rows)
        .with_shape(&shape);
    let ids: String = images
        .iter()
        .map(|entry| format!("{}\n", entry.id))
        .collect();
    fs::write(dir.path().join("trainval_ids.txt"), ids).unwrap();
    let out = imported_file(&dir, file).unwrap();
    assert_eq!(entries(out.path()), images);
}

#[test]
fn hdf5_files_of_other_content_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |file: FileBuilder, parts: &[&str]| {
        assert_refused(imported_file(&dir, file), &["trainval.hdf5"]);
        let path = dir.path().join("trainval.hdf5");
        assert_refused(imported(Format::Hdf5, &[path], Layout::Store), parts);
    };
    refused(FileBuilder::new(), &["no dataset `image_features`"]);
    let mut file = FileBuilder::new();
    dataset(&mut file, "image_features", &[2, 2, 6], &[0.0; 24]);
    dataset(&mut file, "image_bb", &[2, 1, 4], &[0.0; 8]);
    refused(file, &["`image_bb` has shape [2, 1, 4]", "[2, 2] and 4"]);
    let mut file = FileBuilder::new();
    dataset(&mut file, "image_features", &[4, 6], &[0.0; 24]);
    dataset(&mut file, "image_bb", &[4, 4], &[0.0; 16]);
    refused(
        file,
        &["`image_features` has shape [4, 6]", "with pos_boxes"],
    );
    let mut file = write(&dir, &fixed(), &[4]);
    file.create_dataset("pos_boxes")
        .with_i64_data(&[0, 2, 2, 5])
        .with_shape(&[2, 2]);
    refused(file, &["image 1 has rows 2 to 5 of 4"]);
    fs::write(dir.path().join("trainval_ids.txt"), "a\n").unwrap();
    assert_refused(
        imported_file(&dir, write(&dir, &fixed(), &[2, 2])),
        &["trainval_ids.txt", "2 ids", "found 1"],
    );
    fs::write(dir.path().join("trainval.hdf5"), "<html>404</html>").unwrap();
    let path = dir.path().join("trainval.hdf5");
    assert_refused(
        imported(Format::Hdf5, &[path], Layout::Store),
        &["trainval.hdf5", "expected an HDF5 file", "a web page"],
    );
}

#[test]
fn file_without_boxes_gives_its_features() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = FileBuilder::new();
    let [first, second] = fixed();
    let features = [&first.features[..], &second.features].concat();
    dataset(
        &mut file,
        "image_features",
        &[2, 2, WIDTH as u64],
        &features,
    );
    let out = imported_file(&dir, file).unwrap();
    let found = entries(out.path());
    assert_eq!(
        (&found[1].features, &found[1].boxes),
        (&second.features, &None)
    );
}

#[test]
fn axes_that_the_file_cannot_hold_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = FileBuilder::new();
    // A size whose bytes occur in the file only as this axis.
    dataset(
        &mut file,
        "image_features",
        &[1009, 1, 3],
        &vec![0.5; 1009 * 3],
    );
    let path = dir.path().join("trainval.hdf5");
    file.write(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let declared = 1009u64.to_le_bytes();
    for larger in [1u64 << 40, 1 << 62, u64::MAX / 2] {
        let mut bytes = whole.clone();
        for at in 0..bytes.len() - 8 {
            if bytes[at..at + 8] == declared {
                bytes[at..at + 8].copy_from_slice(&larger.to_le_bytes());
            }
        }
        assert_ne!(bytes, whole);
        fs::write(&path, bytes).unwrap();
        let outcome = imported(Format::Hdf5, std::slice::from_ref(&path), Layout::Store);
        assert_refused(outcome, &["trainval.hdf5"]);
    }
}

#[test]
fn chunks_of_many_images_are_decompressed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (images, width) = (40, 8192);
    let mut file = FileBuilder::new();
    file.create_dataset("image_features")
        .with_f32_data(&vec![0.25; images * width])
        .with_shape(&[images as u64, 1, width as u64])
        .with_chunks(&[images as u64, 1, width as u64 / 32])
        .with_deflate(1);
    let path = dir.path().join("trainval.hdf5");
    file.write(&path).unwrap();
    let dump = crate::import::hdf5::Hdf5Dump::open(&[path]).unwrap();
    for image in 0..dump.images {
        dump.read(image).unwrap();
    }
    assert_eq!(dump.images, images);
    assert_eq!(dump.decompressed_chunks(), 32);
}
