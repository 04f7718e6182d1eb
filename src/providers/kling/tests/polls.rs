//! What polls and look-ups tell, and what tells nothing.

use super::*;

#[tokio::test]
async fn jobs_of_the_new_standard_are_asked_after_together() {
    let answer = object!({"code": 0, "data": [
        {"id": "3", "status": "failed", "message": "blocked by risk control", "billing": []},
        {"id": 1, "status": "succeeded", "update_time": 1790000060000_i64,
         "outputs": [{"type": "image", "url": "https://cdn.example/i.png"}, {"type": "video", "url": "https://cdn.example/v1.mp4?sig=1"}],
         "billing": [{"charge_type": "unit", "package_type": "video", "amount": 4, "list_price": "0.7"}]},
        {"id": "1", "status": "processing"},
        {"id": "5", "status": "succeed", "outputs": []},
        {"id": "stranger", "status": "failed"}, {"id": "4", "status": "dancing"}]});
    let socket = Scripted::play(vec![json("200 OK", answer)]).await;
    let jobs: Vec<Job> = ["1", "2", "3", "4", "5", "1"].iter().map(|id| job(id, "new")).collect();
    let answers = kling_at(&socket.url).poll(&jobs).await;
    assert_eq!(socket.lines(), ["GET /tasks?task_ids=1,2,3,4,5 HTTP/1.1"]);
    let Ok(Observation::Succeeded { output, charges }) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(output.url, "https://cdn.example/v1.mp4?sig=1");
    assert_eq!(output.expires, Some(UNIX_EPOCH + Duration::from_secs(1_790_000_060 + 30 * 24 * 3600)));
    assert_eq!(
        (charges[0].amount.as_str(), charges[0].unit.as_str(), charges[0].description.as_str()),
        ("4", "unit", "video")
    );
    assert_eq!(answers[1], Ok(Observation::Missing));
    let Ok(Observation::Failed { failure, .. }) = &answers[2] else { panic!("{answers:?}") };
    assert_eq!((failure.kind, failure.maybe_charged), (FailureKind::Moderated, false));
    for (answer, status) in [(&answers[3], "dancing"), (&answers[4], "succeed")] {
        let Ok(Observation::Pending(progress)) = answer else { panic!("{answer:?}") };
        assert_eq!(progress.provider_status, status);
    }
    assert_eq!(answers[5], answers[0]);
}

#[tokio::test]
async fn one_unknown_id_does_not_spoil_a_batch() {
    let refused = json("400 Bad Request", code(1201, "task not found"));
    let running = json(
        "200 OK",
        object!({"code": 0, "data": [{"id": "1", "status": "processing"}, {"id": "2", "status": "processing"}]}),
    );
    let socket = Scripted::play(vec![refused.clone(), running.clone(), running]).await;
    let answers = kling_at(&socket.url).poll(&[job("1", "new"), job("2", "new")]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Observation::Pending(_)))), "{answers:?}");
    assert_eq!(socket.seen().len(), 3);
    let socket = Scripted::play(vec![refused]).await;
    assert_eq!(kling_at(&socket.url).poll(&[job("1", "new")]).await, [Ok(Observation::Missing)]);
    let socket = Scripted::play(vec![json("200 OK", r#"{"code":0,"data":[]}"#)]).await;
    assert_eq!(kling_at(&socket.url).poll(&[job("1", "new")]).await, [Ok(Observation::Missing)]);
}

#[tokio::test]
async fn legacy_jobs_are_asked_after_on_their_own_path() {
    let finished = object!({"code": 0, "data": {"task_id": "9", "task_status": "succeed", "updated_at": 1790000060000_i64,
        "task_result": {"videos": [{"id": "v9", "url": "https://cdn.example/v9.mp4"}]}, "final_unit_deduction": "3.5",
        "final_balance_deduction": {"quota": "0", "list_price": "0"}}});
    let socket = Scripted::play(vec![json("200 OK", finished)]).await;
    let answers = kling_with(&socket.url, pair(), still()).poll(&[job("9", "legacy:/v1/videos/image2video")]).await;
    assert_eq!(socket.lines(), ["GET /v1/videos/image2video/9 HTTP/1.1"]);
    let Ok(Observation::Succeeded { charges, .. }) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!((charges.len(), charges[0].amount.as_str()), (1, "3.5"));
    let failed =
        object!({"code": 0, "data": {"task_id": "9", "task_status": "failed", "task_status_msg": "out of memory"}});
    let socket = Scripted::play(vec![json("200 OK", failed)]).await;
    let answers = kling_at(&socket.url).poll(&[job("9", "legacy:/v1/videos/text2video")]).await;
    let Ok(Observation::Failed { failure, .. }) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(
        (failure.kind, failure.maybe_charged, failure.message.as_str()),
        (FailureKind::ProviderFailed, true, "out of memory")
    );
    let socket = Scripted::play(vec![json("400 Bad Request", code(1201, "unknown"))]).await;
    assert_eq!(
        kling_at(&socket.url).poll(&[job("9", "legacy:/v1/videos/text2video")]).await,
        [Ok(Observation::Missing)]
    );
}

#[tokio::test]
async fn trouble_with_a_poll_tells_nothing_about_the_job() {
    for act in [
        Act::Reset,
        Act::Drip("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n".to_owned()),
        json("200 OK", "<html>"),
        json("200 OK", r#"{"code":0,"data":null}"#),
        json("200 OK", r#"{"code":0,"data":"soon"}"#),
        json("404 Not Found", code(1202, "no such path")),
        json("401 Unauthorized", code(1002, "bad key")),
        json("500 Internal Server Error", code(1201, "odd")),
        json("503 Service Unavailable", ""),
        json("200 OK", "x".repeat(70_000)),
    ] {
        let socket = Scripted::play(vec![act.clone()]).await;
        let answers = kling_for(&act, &socket.url).poll(&[job("1", "new"), job("2", "new")]).await;
        assert!(answers.len() == 2 && answers.iter().all(Result::is_err), "{answers:?}");
    }
    let busy = Act::Answer("429 Too Many", "retry-after: 3\r\n".to_owned(), code(1302, "slow down"));
    let socket = Scripted::play(vec![busy]).await;
    let answers = kling_at(&socket.url).poll(&[job("1", "legacy:/v1/videos/text2video")]).await;
    assert_eq!(answers[0].as_ref().unwrap_err().retry_after, Some(Duration::from_secs(3)));
    let socket = Scripted::play(vec![json("200 OK", TAKEN)]).await;
    let odd = [job("../x", "new"), job("1", "legacy:/v1/account"), job("1", "legacy://evil.example/x"), job("1", "")];
    assert!(kling_at(&socket.url).poll(&odd).await.iter().all(Result::is_err));
    assert_eq!(socket.seen().len(), 0);
}

#[tokio::test]
async fn a_job_is_found_by_its_marker_and_no_other() {
    let (spec, new, legacy) = (spec(), new("kling-3.0"), legacy("kling-v3"));
    let ours =
        object!({"code": 0, "data": [{"id": "8", "external_id": "other"}, {"id": "9", "external_id": "vg-job-42-1"}]});
    let socket = Scripted::play(vec![json("200 OK", ours)]).await;
    let found = kling_at(&socket.url).find(order(&spec, &new)).await;
    assert_eq!(found, Ok(Found::Job(job("9", "new"))));
    assert_eq!(socket.lines(), ["GET /tasks?external_task_ids=vg-job-42-1 HTTP/1.1"]);
    let ours = object!({"code": 0, "data": {"task_id": "9", "task_info": {"external_task_id": "vg-job-42-1"}}});
    let socket = Scripted::play(vec![json("200 OK", ours)]).await;
    let found = kling_at(&socket.url).find(order(&spec, &legacy)).await;
    assert_eq!(found, Ok(Found::Job(job("9", "legacy:/v1/videos/text2video"))));
    assert_eq!(socket.lines(), ["GET /v1/videos/text2video/vg-job-42-1 HTTP/1.1"]);
    for (model, status, body) in [
        (&new, "200 OK", r#"{"code":0,"data":[]}"#.to_owned()),
        (&new, "400 Bad Request", code(1201, "")),
        (&new, "200 OK", r#"{"code":0,"data":[{"id":"8","external_id":"other"}]}"#.to_owned()),
        (&legacy, "400 Bad Request", code(1201, "")),
        (&legacy, "404 Not Found", code(1203, "")),
        (&legacy, "200 OK", r#"{"code":0,"data":{"task_id":"8","task_info":{"external_task_id":"other"}}}"#.to_owned()),
    ] {
        let socket = Scripted::play(vec![json(status, &body)]).await;
        assert_eq!(kling_at(&socket.url).find(order(&spec, model)).await, Ok(Found::Nothing), "{body}");
    }
    for act in [Act::Reset, json("200 OK", "<html>"), json("500 Oops", code(5000, "")), json("404 Not Found", "")] {
        let socket = Scripted::play(vec![act]).await;
        assert!(kling_at(&socket.url).find(order(&spec, &new)).await.is_err());
    }
}

#[tokio::test]
async fn what_is_kept_of_an_answer_is_short_and_printable() {
    let task = |url: &str, billing: Value| object!({"code": 0, "data": [{"id": "1", "status": "succeeded", "outputs": [{"url": url}], "billing": billing}]});
    let charge = object!({"amount": "4\u{1b}[31m\n", "charge_type": "unit", "package_type": "video"});
    let socket =
        Scripted::play(vec![json("200 OK", task("https://cdn.example/v.mp4", vec![charge; 300].into()))]).await;
    let answers = kling_at(&socket.url).poll(&[job("1", "new")]).await;
    let Ok(Observation::Succeeded { charges, .. }) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!((charges.len(), charges[0].amount.as_str()), (16, "4[31m"));
    // No link that anybody could call: the job is asked after again.
    let endless = format!("https://cdn.example/{}", "v".repeat(20_000));
    let socket = Scripted::play(vec![json("200 OK", task(&endless, object!([])))]).await;
    let answers = kling_at(&socket.url).poll(&[job("1", "new")]).await;
    assert!(matches!(answers[0], Ok(Observation::Pending(_))), "{answers:?}");
}
