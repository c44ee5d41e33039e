"""Log-likelihood of a continuation by transformers, split from its context as lm-evaluation-harness does."""

import torch


def prefix_token(tokenizer):
    """What stands for an empty context."""
    return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id


def split(tokenizer, context, continuation):
    """Tokens of the context and of the continuation.

    White space at the end of the context belongs to the continuation; both are encoded as one text, of which the
    context has as many tokens as it has alone.
    """
    if not context:
        return [prefix_token(tokenizer)], tokenizer.encode(continuation, add_special_tokens=False)
    kept = context.rstrip()
    whole = tokenizer.encode(context + continuation)
    length = len(tokenizer.encode(kept))
    return whole[:length], whole[length:]


@torch.no_grad()
def loglikelihood(model, context, continuation):
    """The sum over the continuation, and whether each of its tokens is the most probable. No batching, no padding."""
    ids = torch.tensor([context + continuation])
    logits = model(ids[:, :-1], logits_to_keep=len(continuation)).logits[0].double()
    labels = torch.tensor(continuation)
    scores = logits.log_softmax(-1).gather(1, labels[:, None])
    return scores.sum().item(), bool((logits.argmax(-1) == labels).all())
