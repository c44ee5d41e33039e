"""Log-likelihood of a continuation by transformers, split from its context as lm-evaluation-harness does."""

import torch


def prefix_token(tokenizer):
    """What stands for an empty context."""
    return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id


def split(tokenizer, context, continuation):
    """Tokens of the context and of the continuation.

    White space at the end of the context belongs to the continuation. The context is encoded alone; the continuation
    is what follows as many tokens of both encoded as one text. (The two do not make up that text where a token would
    reach over the boundary.)
    """
    if not context:
        return [prefix_token(tokenizer)], tokenizer.encode(continuation, add_special_tokens=False)
    given = tokenizer.encode(context.rstrip())
    return given, tokenizer.encode(context + continuation)[len(given) :]


@torch.no_grad()
def loglikelihood(model, context, continuation):
    """The sum over the continuation, and whether each of its tokens is the most probable. No batching, no padding."""
    ids = torch.tensor([context + continuation])
    logits = model(ids[:, :-1], logits_to_keep=len(continuation)).logits[0].double()
    labels = torch.tensor(continuation)
    scores = logits.log_softmax(-1).gather(1, labels[:, None])
    return scores.sum().item(), bool((logits.argmax(-1) == labels).all())
