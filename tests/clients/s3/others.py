"""The archive in a bucket of Google's and of Azure's: that the way there is as these stores are spoken to. What answers is
no more than a sink, so this shows our settings, not their services.

Usage: others.py BINARY
"""

import json
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

from checks import check, is_mp4, run  # noqa: E402
from house import House, pb, until  # noqa: E402
from sink import Sink  # noqa: E402

BINARY = sys.argv[1]


def through(url, environment, signature, name):
    """A video goes there, comes back from any offset, is linked to, and is removed after its retention."""
    os.environ.update(environment)
    with tempfile.TemporaryDirectory() as kept:
        sink = Sink(kept)
        settings = {"ARCHIVE__URL": url, "ARCHIVE__ENDPOINT": sink.url, "ARCHIVE__ALLOW_HTTP": "true"}
        house = House(BINARY, lambda _: settings)
        try:
            task_id = house.submit("a kite [sim:latency=300ms]")
            size = house.becomes(task_id, "SUCCEEDED").artifact.size
            assert list(sink.objects) == [name.format(task_id)], sink.objects
            data = house.download(task_id)
            is_mp4(data)
            assert len(data) == size and house.download(task_id, 1000) == data[1000:]
            if signature:
                link = house.client.GetDownloadLink(pb.GetDownloadLinkRequest(task_id=task_id)).url
                assert name.format(task_id) in link and signature in link, link
            house.stop()
            house.start(RETENTION__TASKS="1s")
            until("an empty bucket", lambda: not sink.objects)
        finally:
            house.close()


@check("gs://")
def google():
    # Without a token of Google's own a link would be signed by Google too: not shown here.
    account = {"private_key": "none", "private_key_id": "1", "client_email": "a@b.example", "disable_oauth": True}
    environment = {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}
    through("gs://films/kept", environment, None, "/films/kept/{}.mp4")


@check("az://")
def azure():
    environment = {"AZURE_STORAGE_ACCOUNT_NAME": "house", "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0LW9mLXRoZS10ZXN0"}
    through("az://films/kept", environment, "sig=", "/films/kept/{}.mp4")


run()
