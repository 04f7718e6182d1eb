import uuid

import grpc
from stubs import pb, rpc

videogen = rpc.VideoGenStub(grpc.insecure_channel("127.0.0.1:50051"))
spec = pb.Spec(model="kling/kling-3.0", prompt="a fox in the snow")
task = videogen.Submit(pb.SubmitRequest(request_id=str(uuid.uuid4()), spec=spec)).task
for event in videogen.Watch(pb.WatchRequest(task_id=task.id)):
    if event.HasField("task"):
        task = event.task
        print(pb.TaskState.Name(task.state), round(task.progress.percent), "%", task.failure.message)
if task.state == pb.TASK_STATE_SUCCEEDED:
    with open("fox.mp4", "wb") as file:
        file.writelines(part.chunk for part in videogen.DownloadVideo(pb.DownloadVideoRequest(task_id=task.id)))
