//! Compares filters with plain loops over the expected photos.

use super::*;

fn is_met(filter: &Filter, id: PhotoId, photo: &NewPhoto) -> bool {
    let metadata = &photo.metadata;
    let date = metadata.date.as_ref().map(Date::as_str);
    let until = |to: &Date, date: &str| &date[..to.as_str().len().min(date.len())] <= to.as_str();
    filter
        .from
        .as_ref()
        .is_none_or(|from| date.is_some_and(|date| date >= from.as_str()))
        && filter
            .to
            .as_ref()
            .is_none_or(|to| date.is_some_and(|date| until(to, date)))
        && filter
            .folder
            .as_ref()
            .is_none_or(|folder| photo.file.path != *folder && photo.file.path.starts_with(folder))
        && filter.camera.as_ref().is_none_or(|camera| {
            let text = metadata.camera.as_ref().map(|text| text.to_lowercase());
            text.is_some_and(|text| text.contains(&camera.to_lowercase()))
        })
        && filter.photo.is_none_or(|photo| photo == id)
        && filter
            .has_coordinates
            .is_none_or(|has| metadata.coordinates.is_some() == has)
}

fn draw(rng: &mut ChaCha8Rng) -> Filter {
    let dates = ["2021", "2022-05", "2022-05-17", "2023-01-01T00:00:00"];
    let mut date = || {
        rng.random_bool(0.3)
            .then(|| dates[rng.random_range(0..4)].parse().unwrap())
    };
    let (from, to) = (date(), date());
    let folders = [
        "/photos",
        "/photos/b",
        "/photos/b/",
        "/",
        "/photos/b/c",
        "/photo",
    ];
    let cameras = ["canon", "EOS", "nikon", ""];
    Filter {
        from,
        to,
        folder: rng
            .random_bool(0.5)
            .then(|| folders[rng.random_range(0..6)].into()),
        camera: rng
            .random_bool(0.3)
            .then(|| cameras[rng.random_range(0..4)].to_owned()),
        has_coordinates: rng.random_bool(0.3).then(|| rng.random()),
        photo: rng
            .random_bool(0.3)
            .then(|| PhotoId(rng.random_range(0..70))),
    }
}

#[test]
fn a_filter_selects_exactly_the_photos_that_meet_it() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    let mut rng = rng(3);
    let dates = [
        "2021-12-31T23:59:59",
        "2022-05",
        "2022-05-17T12:00:00",
        "2022-06-01",
        "2023",
    ];
    for batch in 0..6 {
        let mut photos = Vec::new();
        for number in 0..10 {
            let folder = ["/photos/a", "/photos/b", "/photos/b/c", "/photos/bc"][number % 4];
            let path = format!("{folder}/{batch}-{number}.jpg");
            let mut made = Made::new(Path::new(&path), &mut rng);
            made.photo.metadata.date = dates
                .get(rng.random_range(0..7))
                .map(|d| d.parse().unwrap());
            photos.push(made);
        }
        add(&mut writer, &photos).unwrap();
    }
    let removed: Vec<PathBuf> = (0..6)
        .map(|n| format!("/photos/b/{n}-1.jpg").into())
        .collect();
    assert_eq!(writer.remove(&removed).unwrap(), 6);
    let all = State::read(writer.index_mut()).photos;
    assert_eq!(all.len(), 54);
    for _ in 0..300 {
        let filter = draw(&mut rng);
        let expected = all
            .iter()
            .filter(|&(&id, (photo, _))| is_met(&filter, id, photo));
        let expected: Vec<PhotoId> = expected.map(|(&id, _)| id).collect();
        let selection = writer.index_mut().select(&filter).unwrap();
        let mut found: Vec<PhotoId> = Vec::new();
        for segment in &selection.segments {
            assert!(segment.positions.is_sorted());
            found.extend(&segment.photos);
        }
        found.sort();
        assert_eq!(found, expected, "{filter:?}");
        assert_eq!(selection.photos(), expected.len());
    }
}
