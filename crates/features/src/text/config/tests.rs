//! Tests of configurations: defaults, the keys of a checkpoint, and values that are refused.

use super::*;

const SIZES: &str = r#""vocab_size": 9, "hidden_size": 6, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 5"#;

fn read(encoder: &str, keys: &str) -> std::result::Result<(TransformerConfig, Value), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, format!("{{{keys}}}")).unwrap();
    let read = TransformerConfig::read(&path, encoder);
    let (config, written) = read.map_err(|error| error.to_string())?;
    Ok((config, serde_json::from_slice(&written).unwrap()))
}

#[track_caller]
fn assert_refused(encoder: &str, keys: &str, parts: &[&str]) {
    let message = read(encoder, keys).unwrap_err();
    assert!(message.contains("config.json: "), "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn missing_keys_have_the_values_of_the_published_models() {
    let (config, _) = read("bert", &format!("{SIZES}, \"use_cache\": true")).unwrap();
    assert_eq!(config.hidden_act, Activation::Gelu);
    assert_eq!(config.layer_norm_eps, 1e-12);
    assert_eq!(config.type_vocab_size, Some(2));
    assert_eq!(config.hidden_dropout_prob, 0.1);
    assert_eq!(config.attention_dropout, 0.1);
    assert_eq!(config.pad_token_id, None);

    let clip = json!({"model_type": "clip_text_model", "vocab_size": 49_408, "hidden_size": 512,
        "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 2048,
        "hidden_act": "quick_gelu", "max_position_embeddings": 77, "layer_norm_eps": 1e-5,
        "attention_dropout": 0.0, "initializer_range": 0.02, "pad_token_id": 1});
    let siglip = json!({"model_type": "siglip_text_model", "vocab_size": 32_000,
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "hidden_act": "gelu_new", "max_position_embeddings": 64,
        "layer_norm_eps": 1e-6, "attention_dropout": 0.0, "initializer_range": 0.02,
        "pad_token_id": 1});
    let half = r#""model_type": "siglip", "text_config": {"model_type": "siglip_text_model"}"#;
    for (keys, expected) in [(r#""model_type": "clip""#, clip), (half, siglip)] {
        let (config, written) = read("tower", keys).unwrap();
        assert_eq!(written, expected);
        assert_eq!(config.hidden_dropout_prob, 0.0);
        assert_eq!(config.type_vocab_size, None);
    }
}

#[test]
fn written_keys_have_the_order_of_the_family_and_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bert.json");
    std::fs::write(&path, format!("{{{SIZES}}}")).unwrap();
    let (_, written) = TransformerConfig::read(&path, "bert").unwrap();
    let text = String::from_utf8(written.clone()).unwrap();
    assert!(
        text.starts_with("{\n  \"model_type\": \"bert\",\n  \"vocab_size\": 9,"),
        "{text}"
    );
    assert!(
        text.ends_with("\"position_embedding_type\": \"absolute\",\n  \"is_decoder\": false\n}"),
        "{text}"
    );
    std::fs::write(&path, &written).unwrap();
    assert_eq!(TransformerConfig::read(&path, "bert").unwrap().1, written);
}

#[test]
fn every_default_is_json() {
    for family in FAMILIES {
        for (key, default) in family.keys {
            let is_json = serde_json::from_str::<Value>(default).is_ok();
            assert!(is_json || default.is_empty(), "{key}: {default}");
        }
    }
}

#[test]
fn every_activation_has_its_published_names() {
    for (name, activation) in [
        ("gelu", Activation::Gelu),
        ("gelu_new", Activation::GeluNew),
        ("gelu_pytorch_tanh", Activation::GeluNew),
        ("relu", Activation::Relu),
    ] {
        let (config, _) = read("bert", &format!("{SIZES}, \"hidden_act\": \"{name}\"")).unwrap();
        assert_eq!(config.hidden_act, activation);
    }
}

#[test]
fn values_that_are_not_supported_are_refused() {
    for (encoder, keys, parts) in [
        (
            "bert",
            format!("{SIZES}, \"hidden_act\": \"swish\""),
            ["unknown variant `swish`", "`gelu_new`"],
        ),
        (
            "bert",
            format!("{SIZES}, \"position_embedding_type\": \"relative_key\""),
            ["unknown variant `relative_key`", "`absolute`"],
        ),
        (
            "bert",
            format!("{SIZES}, \"model_type\": \"roberta\""),
            ["unknown variant `roberta`", "`bert`"],
        ),
        (
            "bert",
            format!("{SIZES}, \"is_decoder\": true"),
            ["`is_decoder`", "expected false, found true"],
        ),
        (
            "tower",
            r#""model_type": "dinov2""#.to_owned(),
            ["unknown variant `dinov2`", "expected one of `clip`"],
        ),
        (
            "tower",
            r#""model_type": "bert""#.to_owned(),
            ["unknown variant `bert`", "`siglip_text_model`"],
        ),
        ("tower", SIZES.to_owned(), ["`model_type`", "no such key"]),
    ] {
        assert_refused(encoder, &keys, &parts);
    }
}

#[test]
fn impossible_sizes_are_refused() {
    assert_refused(
        "bert",
        "\"vocab_size\": 9",
        &["missing field `hidden_size`"],
    );
    let changed = |from: &str, to: &str| SIZES.replace(from, to);
    for (encoder, keys, parts) in [
        (
            "bert",
            changed("\"num_attention_heads\": 2", "\"num_attention_heads\": 4"),
            [
                "`num_attention_heads`",
                "a divisor of hidden_size 6, found 4",
            ],
        ),
        (
            "bert",
            changed("\"vocab_size\": 9", "\"vocab_size\": 0"),
            ["`vocab_size`", "expected at least 1, found 0"],
        ),
        (
            "bert",
            format!("{SIZES}, \"type_vocab_size\": 0"),
            ["`type_vocab_size`", "expected at least 1, found 0"],
        ),
        (
            "bert",
            format!("{SIZES}, \"layer_norm_eps\": 0"),
            ["`layer_norm_eps`", "above zero"],
        ),
        (
            "bert",
            format!("{SIZES}, \"hidden_dropout_prob\": 1.0"),
            ["`hidden_dropout_prob`", "below 1, found 1"],
        ),
        (
            "bert",
            format!("{SIZES}, \"attention_probs_dropout_prob\": 1.0"),
            ["`attention_probs_dropout_prob`", "below 1, found 1"],
        ),
        (
            "tower",
            r#""model_type": "clip_text_model", "num_attention_heads": 7"#.to_owned(),
            [
                "`num_attention_heads`",
                "a divisor of hidden_size 512, found 7",
            ],
        ),
        (
            "tower",
            r#""model_type": "clip", "text_config": {"pad_token_id": 50000}"#.to_owned(),
            ["`pad_token_id`", "below vocab_size 49408, found 50000"],
        ),
        (
            "tower",
            r#""model_type": "siglip_text_model", "attention_dropout": 1.0"#.to_owned(),
            ["`attention_dropout`", "below 1, found 1"],
        ),
    ] {
        assert_refused(encoder, &keys, &parts);
    }
}
