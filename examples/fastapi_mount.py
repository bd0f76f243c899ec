"""A gateway inside a FastAPI application, under /llm.

    export GROQ_API_KEY=... GEMINI_API_KEY=...
    uvicorn fastapi_mount:app

Then an OpenAI client finds it at http://127.0.0.1:8000/llm/v1.
"""

from pathlib import Path

from fastapi import FastAPI

import stepwell

llm = stepwell.create_app(Path(__file__).with_name("stepwell.yaml"))

# A mounted application's own lifespan never runs; the host runs it, so that connections are closed.
app = FastAPI(lifespan=stepwell.lifespan(llm))
app.mount("/llm", llm)


@app.get("/")
async def index() -> dict[str, str]:
    return {"gateway": "/llm/v1"}
