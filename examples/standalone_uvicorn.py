"""A gateway alone, settings in code, started from Python.

    export GROQ_API_KEY=... GEMINI_API_KEY=...
    python standalone_uvicorn.py

Then an OpenAI client finds it at http://127.0.0.1:8429/v1.
"""

import os

import uvicorn

import stepwell

settings = stepwell.Settings(
    api_keys=[os.environ.get("STEPWELL_API_KEY", "sk-change-me")],
    # A preset takes its key from the customary variable.
    providers={"groq": {"preset": "groq"}, "gemini": {"preset": "gemini"}},
    chains={"default": ["groq/llama-3.3-70b-versatile", "gemini/gemini-2.5-flash-lite"]},
)

app = stepwell.create_app(settings)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8429")), access_log=False)
