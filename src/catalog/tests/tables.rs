//! Every rule one over and one under: a model, what is asked of it, and the fields that
//! are found wrong.

use serde_json::json;

use super::*;

#[test]
fn end_images_follow_the_matrix() {
    table(&[
        ("kling-v1", &[start_end], &[]),
        ("kling-v1", &[start_end, pro], &[]),
        ("kling-v1", &[start_end, ten], &["end_image"]),
        ("kling-v1-5", &[start_end], &["end_image"]),
        ("kling-v1-5", &[start_end, pro], &[]),
        ("kling-v1-5", &[end, pro], &[]),
        ("kling-v1-5", &[end], &["end_image"]),
        ("kling-v1-6", &[end, pro], &[]),
        ("kling-v1-6", &[end, std], &["end_image"]),
        ("kling-v2-1", &[start_end, pro], &[]),
        ("kling-v2-1", &[start_end, std], &["end_image"]),
        ("kling-v2-1", &[end, pro], &["start_image", "end_image"]),
        ("kling-v2-5-turbo", &[start_end], &["end_image"]),
        ("kling-v2-5-turbo", &[start_end, full_hd], &[]),
        ("kling-v2-6", &[start_end], &["end_image"]),
        ("kling-v2-6", &[start_end, pro], &[]),
        ("kling-v2-6", &[start_end, pro, silent], &[]),
        ("kling-v2-6", &[start_end, pro, sound], &["end_image"]),
        ("kling-v2-6", &[end, pro], &["end_image"]),
        ("kling-v3", &[start_end], &[]),
        ("kling-v3", &[end], &["end_image"]),
        ("kling-v2-master", &[start_end], &["end_image"]),
        ("kling-v2-1-master", &[start_end], &["end_image"]),
        ("kling-3.0", &[start_end], &[]),
        ("kling-3.0", &[end], &["end_image"]),
        ("kling-3.0-turbo", &[start_end], &["end_image"]),
        ("kling-2.6", &[start_end], &["end_image"]),
        ("kling-2.6", &[start_end, full_hd], &[]),
        ("kling-2.5-turbo", &[start_end, pro], &[]),
        ("fal-ai/veo3.1/first-last-frame-to-video", &[start], &["end_image"]),
        ("fal-ai/veo3.1/first-last-frame-to-video", &[start_end], &[]),
        ("fal-ai/luma-dream-machine/ray-2/image-to-video", &[end], &[]),
        ("fal-ai/veo3.1/image-to-video", &[start_end], &["end_image"]),
    ]);
}

#[test]
fn inputs_lengths_and_ratios_stay_within_the_row() {
    table(&[
        ("kling-v2-6", &[ten], &[]),
        ("kling-v2-6", &[|s| s.duration_s = Some(7)], &["duration"]),
        ("kling-v3", &[|s| s.duration_s = Some(3)], &[]),
        ("kling-v3", &[|s| s.duration_s = Some(2)], &["duration"]),
        ("kling-v3", &[|s| s.duration_s = Some(16)], &["duration"]),
        ("kling-o1", &[|s| s.duration_s = Some(7)], &["duration"]),
        ("kling-o1", &[start, |s| s.duration_s = Some(7)], &["duration"]),
        ("kling-o1", &[start_end, |s| s.duration_s = Some(7)], &[]),
        ("kling-o1", &[|s| s.reference_images = vec![image()], |s| s.duration_s = Some(3)], &[]),
        ("kling-o1", &[start_end, |s| s.duration_s = Some(11)], &["duration"]),
        ("fal-ai/minimax/hailuo-02/pro/text-to-video", &[|s| s.duration_s = Some(6)], &["duration"]),
        ("kling-v2-1", &[], &["start_image"]),
        ("kling-v2-1", &[start], &[]),
        ("fal-ai/veo3.1", &[start], &["start_image"]),
        ("kling-3.0", &[wide], &[]),
        ("kling-3.0", &[wide, start], &["aspect_ratio"]),
        ("kling-3.0", &[|s| s.aspect_ratio = Some("21:9".to_owned())], &["aspect_ratio"]),
        ("kling-3.0-omni", &[wide, start], &[]),
        ("fal-ai/veo3.1/image-to-video", &[wide, start], &[]),
        ("fal-ai/kling-video/v3/pro/image-to-video", &[wide, start], &["aspect_ratio"]),
        ("kling-3.0", &[|s| s.resolution = Some("4K".to_owned())], &[]),
        ("kling-3.0-turbo", &[|s| s.resolution = Some("4k".to_owned())], &["resolution"]),
        ("kling-v2-master", &[full_hd], &["resolution"]),
        ("kling-3.0-omni", &[|s| s.reference_images = vec![image(); 7]], &[]),
        ("kling-3.0-omni", &[|s| s.reference_images = vec![image(); 8]], &["reference_images"]),
        ("kling-3.0", &[|s| s.reference_images = vec![image()]], &["reference_images"]),
        ("fal-ai/veo3.1/reference-to-video", &[], &["reference_images"]),
    ]);
}

#[test]
fn prompts_and_sound_stay_within_the_row() {
    table(&[
        ("kling-v3", &[|s| s.prompt.clear()], &["prompt"]),
        ("kling-v3", &[|s| s.prompt = "é".repeat(2500)], &[]),
        ("kling-v3", &[|s| s.prompt = "é".repeat(2501)], &["prompt"]),
        ("kling-3.0", &[|s| s.prompt = "a".repeat(3072)], &[]),
        ("kling-3.0", &[|s| s.prompt = "a".repeat(3073)], &["prompt"]),
        ("fal-ai/wan-25-preview/text-to-video", &[|s| s.prompt = "a".repeat(800)], &[]),
        ("fal-ai/wan-25-preview/text-to-video", &[|s| s.prompt = "a".repeat(801)], &["prompt"]),
        ("fal-ai/veo3", &[|s| s.prompt = "a".repeat(8193)], &["prompt"]),
        ("kling-v3", &[negative], &[]),
        ("kling-v3", &[|s| s.negative_prompt = "a".repeat(2501)], &["negative_prompt"]),
        ("kling-3.0", &[negative], &["negative_prompt"]),
        ("kling-v2-6", &[sound, pro], &[]),
        ("kling-v2-6", &[sound, full_hd], &[]),
        ("kling-v2-6", &[sound], &["generate_audio"]),
        ("kling-2.6", &[sound], &["generate_audio"]),
        ("kling-2.6", &[sound, full_hd], &[]),
        ("kling-v3", &[sound], &[]),
        ("kling-v2-5-turbo", &[sound], &["generate_audio"]),
        ("kling-o1", &[sound], &["generate_audio"]),
        ("kling-3.0-turbo", &[sound], &[]),
        ("kling-3.0-turbo", &[silent], &["generate_audio"]),
    ]);
}

#[test]
fn modes_cameras_and_masks_follow_the_rules() {
    table(&[
        ("kling-v3", &[four_k], &[]),
        ("kling-v2-6", &[four_k], &["mode"]),
        ("kling-v2-6", &[|s| option(s, "mode", json!("standard"))], &["mode"]),
        ("kling-v2-master", &[pro], &["mode"]),
        ("kling-v2-6", &[pro, full_hd], &[]),
        ("kling-v2-6", &[std, full_hd], &["mode"]),
        ("kling-3.0", &[four_k, full_hd], &["mode"]),
        ("kling-v1", &[|s| option(s, "cfg_scale", json!(1))], &[]),
        ("kling-v1", &[|s| option(s, "cfg_scale", json!(1.01))], &["cfg_scale"]),
        ("kling-v1", &[|s| option(s, "cfg_scale", json!("1"))], &["cfg_scale"]),
        ("kling-v2-6", &[|s| option(s, "cfg_scale", json!(0.5))], &["cfg_scale"]),
        ("kling-v1", &[camera], &[]),
        ("kling-v1", &[camera, pro], &["camera_control"]),
        ("kling-v1", &[camera, ten], &["camera_control"]),
        ("kling-v1", &[camera, start], &["camera_control"]),
        ("kling-v1-5", &[camera, start, pro], &[]),
        ("kling-v1-5", &[camera, start], &["camera_control"]),
        ("kling-v1-5", &[camera, start_end, pro], &["camera_control"]),
        ("kling-v1", &[|s| option(s, "camera_control", json!({"type": "down_back"}))], &[]),
        ("kling-v1", &[|s| option(s, "camera_control", json!({"type": "simple"}))], &["camera_control.config"]),
        (
            "kling-v1",
            &[|s| option(s, "camera_control", json!({"type": "simple", "config": {"pan": 11}}))],
            &["camera_control.config.pan"],
        ),
        (
            "kling-v1",
            &[|s| option(s, "camera_control", json!({"type": "simple", "config": {"pan": 1, "tilt": 1}}))],
            &["camera_control.config"],
        ),
        (
            "kling-v1",
            &[|s| option(s, "camera_control", json!({"type": "down_back", "config": {"pan": 1}}))],
            &["camera_control.config"],
        ),
        ("kling-v1", &[mask, start], &[]),
        ("kling-v1", &[mask], &["static_mask"]),
        ("kling-v1", &[mask, start, ten], &["static_mask"]),
        ("kling-v1", &[mask, start_end], &["static_mask"]),
        ("kling-v1-5", &[mask, start, camera, pro], &["static_mask"]),
        ("kling-v1-5", &[mask, start], &["static_mask"]),
        ("kling-v1-6", &[mask, start], &["static_mask"]),
    ]);
}

#[test]
fn structured_options_are_checked_to_the_leaf() {
    fn points(s: &mut Spec, count: usize) {
        start(s);
        let points = vec![json!({"x": 1.0, "y": 2}); count];
        option(s, "dynamic_masks", json!([{"mask": "https://img.example/m.png", "trajectories": points}]));
    }
    table(&[
        ("kling-v1", &[|s| points(s, 77)], &[]),
        ("kling-v1", &[|s| points(s, 78)], &["dynamic_masks[0].trajectories"]),
        ("kling-v1", &[|s| points(s, 1)], &["dynamic_masks[0].trajectories"]),
        (
            "kling-v1",
            &[start, |s| option(s, "dynamic_masks", json!([{"mask": "m"}]))],
            &["dynamic_masks[0].trajectories"],
        ),
        ("kling-v2-6", &[voice, sound, pro], &[]),
        ("kling-v2-6", &[voice, pro], &["voice_list"]),
        (
            "kling-v3",
            &[sound, |s| option(s, "voice_list", json!([{"voice_id": 1}, {"voice_id": 2}, {"voice_id": 3}]))],
            &["voice_list"],
        ),
        ("kling-v3", &[|s| option(s, "element_list", json!(vec![json!({"element_id": 7}); 3]))], &[]),
        ("kling-v3", &[|s| option(s, "element_list", json!(vec![json!({"element_id": 7}); 4]))], &["element_list"]),
        ("kling-v2-6", &[|s| option(s, "element_list", json!([{"element_id": 7}]))], &["element_list"]),
        ("kling-3.0", &[|s| option(s, "watermark_info", json!({"enabled": true}))], &[]),
        ("kling-3.0", &[|s| option(s, "watermark_info", json!({"enabled": 1}))], &["watermark_info.enabled"]),
        ("kling-3.0", &[|s| option(s, "watermark_info", json!({}))], &["watermark_info.enabled"]),
        ("kling-3.0", &[|s| option(s, "watermark_info", json!({"enabled": true, "x": 1}))], &["watermark_info.x"]),
        ("kling-3.0", &[|s| option(s, "nonsense", json!(1))], &["nonsense"]),
        ("fal-ai/veo3.1", &[|s| option(s, "safety_tolerance", json!("6"))], &[]),
        ("fal-ai/veo3.1", &[|s| option(s, "safety_tolerance", json!(6))], &["safety_tolerance"]),
        ("fal-ai/minimax/hailuo-02/pro/text-to-video", &[|s| option(s, "prompt_optimizer", json!(false))], &[]),
        ("fal-ai/luma-dream-machine/ray-2", &[|s| option(s, "loop", json!("yes"))], &["loop"]),
    ]);
}

#[test]
fn shots_fill_the_film() {
    fn shots(s: &mut Spec, lengths: &[u32]) {
        s.prompt.clear();
        option(s, "multi_shot", json!(true));
        option(s, "shot_type", json!("customize"));
        let shot = |(i, n): (usize, &u32)| json!({"index": i + 1, "prompt": "a kite", "duration": n.to_string()});
        option(s, "multi_prompt", lengths.iter().enumerate().map(shot).collect());
    }
    table(&[
        ("kling-v3", &[|s| shots(s, &[2, 3])], &[]),
        ("kling-v3", &[|s| shots(s, &[2, 2])], &["multi_prompt"]),
        ("kling-v3", &[|s| shots(s, &[5, 5]), ten], &[]),
        ("kling-v3", &[|s| shots(s, &[1; 6]), |s| s.duration_s = Some(6)], &[]),
        ("kling-v3", &[|s| shots(s, &[1; 7]), |s| s.duration_s = Some(7)], &["multi_prompt"]),
        (
            "kling-v3",
            &[|s| shots(s, &[5]), |s| option(s, "shot_type", json!("intelligence"))],
            &["prompt", "multi_prompt"],
        ),
        ("kling-v3", &[|s| shots(s, &[5]), |s| option(s, "multi_shot", json!(false))], &["prompt", "shot_type"]),
        (
            "kling-v3",
            &[
                |s| shots(s, &[5]),
                |s| {
                    s.provider_options.remove("multi_prompt");
                },
            ],
            &["prompt", "multi_prompt"],
        ),
        ("kling-v2-6", &[|s| option(s, "multi_shot", json!(true))], &["multi_shot"]),
        (
            "fal-ai/kling-video/v3/pro/text-to-video",
            &[|s| option(s, "multi_prompt", json!([{"prompt": "a", "duration": "5"}]))],
            &["multi_prompt"],
        ),
        (
            "fal-ai/kling-video/v3/pro/text-to-video",
            &[|s| s.prompt.clear(), |s| option(s, "multi_prompt", json!([{"prompt": "a", "duration": 5}]))],
            &[],
        ),
    ]);
}
