"""Buys one video with fal's own Python client, as its page shows it: one blocking
call, with its defaults.

Usage: FAL_KEY=... fal-client.py http://SIMULATOR PROMPT FILE
"""

import sys
import urllib.request

import fal_client
import fal_client.client

base, prompt, file = sys.argv[1:]
# The one line that points the client at the simulator; there is no argument for it.
fal_client.client.QUEUE_URL_FORMAT = base + "/"

result = fal_client.subscribe(
    "fal-ai/veo3.1",
    arguments={"prompt": prompt, "aspect_ratio": "16:9"},
)
urllib.request.urlretrieve(result["video"]["url"], file)
