"""One signed S3 request: s3_request.py VERB /BUCKET/KEY?QUERY [BODY]; prints the answer's body.

Keys, region and endpoint come from the environment; exits with 1 on an error of the server.
The parameters of the query must be sorted and encoded.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import sys
import urllib.parse


def main():
    verb, target = sys.argv[1:3]
    body = sys.argv[3].encode() if len(sys.argv) > 3 else b""
    path, _, query = target.partition("?")
    endpoint = urllib.parse.urlparse(os.environ["AWS_ENDPOINT_URL"])
    region = os.environ["AWS_REGION"]
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": endpoint.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join([verb, path, query, lines, names, digest])
    scope = f"{day}/{region}/s3/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashed])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in [day, region, "s3", "aws4_request"]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    connection = http.client.HTTPConnection(endpoint.netloc, timeout=20)
    connection.request(verb, target, body=body, headers=headers)
    answer = connection.getresponse()
    print(answer.read().decode(errors="replace"))
    if answer.status >= 300:
        sys.exit(f"HTTP {answer.status}")


if __name__ == "__main__":
    main()
