"""Reports of a run: contact sheets and the JSON sidecar."""
