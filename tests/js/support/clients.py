"""Python's clients of embedding servers, as their users write them: `clients.py CLIENT URL` prints what they got, as JSON."""

import json
import os
import sys

TEXTS = ["a cat", "the dog sat on the mat"]

QUERY = "what does a cat eat"
DOCUMENTS = ["a dog sat", "a cat eats a mouse", "the mat", "night ships sail"]

name, url = sys.argv[1:]
# No client asks anybody but us.
os.environ |= {"OPENAI_API_KEY": "unused", "NO_PROXY": "*", "ANONYMIZED_TELEMETRY": "False"}


def rows(vectors):
    return [[float(x) for x in vector] for vector in vectors]


def openai():
    from openai import BadRequestError, OpenAI

    client = OpenAI(base_url=f"{url}/v1", max_retries=0)
    # It asks for base64 by itself.
    answer = client.embeddings.create(model="tiny", input=TEXTS)
    models = [model.id for model in client.models.list()]
    assert client.models.retrieve(models[0]).id == models[0]
    try:
        client.embeddings.create(model="tiny", input=TEXTS, extra_body={"dimension": 5})
        raise AssertionError("an unknown field was taken")
    except BadRequestError as error:
        assert "`dimensions`" in error.message, error
    return rows(entry.embedding for entry in answer.data)


def huggingface_hub():
    from huggingface_hub import InferenceClient

    return rows(InferenceClient(model=url).feature_extraction(TEXTS))


def huggingface_hub_similarity():
    from huggingface_hub import InferenceClient

    return InferenceClient(model=url).sentence_similarity(TEXTS[0], other_sentences=TEXTS)


def langchain():
    from langchain_openai import OpenAIEmbeddings

    client = OpenAIEmbeddings(base_url=f"{url}/v1", model="tiny", check_embedding_ctx_length=False)
    assert rows([client.embed_query(TEXTS[0])]) == rows(client.embed_documents(TEXTS[:1]))
    return rows(client.embed_documents(TEXTS))


def langchain_as_it_is():
    import tiktoken
    from langchain_openai import OpenAIEmbeddings

    # Of OpenAI's table, which is a download, the rows that these words need.
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"hello": 15339, b" world": 1917}
    table = tiktoken.Encoding("cl100k_base", pat_str=r" ?\w+|\s+", mergeable_ranks=ranks, special_tokens={})
    tiktoken.get_encoding = lambda _: table
    tiktoken.encoding_for_model = lambda _: table
    assert table.encode("hello world") == [15339, 1917]
    try:
        OpenAIEmbeddings(base_url=f"{url}/v1").embed_documents(["hello world"])
    except Exception as error:
        return {"status": getattr(error, "status_code", None), "message": str(error)}
    return {"status": 200, "message": ""}


def haystack():
    from haystack.dataclasses import Document
    from haystack_integrations.components.embedders.huggingface_api import (
        HuggingFaceAPIDocumentEmbedder,
        HuggingFaceAPITextEmbedder,
    )

    options = {"api_type": "text_embeddings_inference", "api_params": {"url": url}}
    documents = HuggingFaceAPIDocumentEmbedder(**options).run([Document(content=text) for text in TEXTS])
    query = HuggingFaceAPITextEmbedder(**options).run(TEXTS[0])
    vectors = [document.embedding for document in documents["documents"]]
    assert query["embedding"] == vectors[0]
    return rows(vectors)


def llama_index():
    from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

    client = TextEmbeddingsInference(model_name="tiny", base_url=url, text_instruction="", query_instruction="")
    assert client.get_query_embedding(TEXTS[0]) == client.get_text_embedding(TEXTS[0])
    return rows(client.get_text_embedding_batch(TEXTS))


def chromadb():
    from chromadb.utils.embedding_functions import HuggingFaceEmbeddingServer, OpenAIEmbeddingFunction

    same = OpenAIEmbeddingFunction(api_key="unused", api_base=f"{url}/v1", model_name="tiny")(TEXTS)
    vectors = rows(HuggingFaceEmbeddingServer(url=url)(TEXTS))
    assert vectors == rows(same)
    return vectors


def litellm():
    import litellm

    answers = [
        litellm.embedding(model="openai/tiny", input=TEXTS, api_base=f"{url}/v1", api_key="unused"),
        litellm.embedding(model="hosted_vllm/tiny", input=TEXTS, api_base=f"{url}/v1", api_key="unused"),
        litellm.embedding(
            # Without it the Hub is asked what the model is for.
            **{"model": "huggingface/tiny", "input_type": "feature-extraction"},
            **{"input": TEXTS, "api_base": url, "api_key": "unused"},
        ),
    ]
    vectors = [rows(entry["embedding"] for entry in answer.data) for answer in answers]
    assert vectors[0] == vectors[1] == vectors[2], vectors
    return vectors[0]


def cohere():
    from cohere import BadRequestError, Client, ClientV2

    new = ClientV2(api_key="unused", base_url=url).rerank(model="any", query=QUERY, documents=DOCUMENTS)
    client = Client(api_key="unused", base_url=url)
    old = client.rerank(model="any", query=QUERY, documents=DOCUMENTS, return_documents=True)
    assert all(one.document.text == DOCUMENTS[one.index] for one in old.results)
    try:
        client.rerank(query="", documents=DOCUMENTS)
        raise AssertionError("an empty query was taken")
    except BadRequestError as error:
        assert "query" in error.body["message"], error
    return [[[one.index, one.relevance_score] for one in answer.results] for answer in (new, old)]


def litellm_rerank():
    import litellm

    def rerank(model, api_base):
        options = {"query": QUERY, "documents": DOCUMENTS, "api_base": api_base, "api_key": "unused"}
        answer = litellm.rerank(model=model, **options)
        return [[one["index"], one["relevance_score"]] for one in answer.results]

    return [
        # text-embeddings-inference's request.
        rerank("huggingface/any", url),
        # Jina's.
        rerank("jina_ai/any", f"{url}/v1/rerank"),
        rerank("hosted_vllm/any", url),
        rerank("cohere/any", f"{url}/v2/rerank"),
    ]


print(json.dumps(globals()[name]()))
