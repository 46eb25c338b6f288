// Prints what llama.cpp makes of a model: the logits at some positions of a prompt as f32 in hex, then the tokens that it
// chooses greedily behind it. Built and run by make.py, which says how.
//
//     reference MODEL CONTEXT GREEDY "prompt token ids" "positions"

#include "llama.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <vector>

static std::vector<int> numbers(const char * text) {
    std::istringstream in(text);
    std::vector<int> out;
    for (int n; in >> n;) out.push_back(n);
    return out;
}

static void check(bool fine, const char * what) {
    if (!fine) {
        std::fprintf(stderr, "reference: %s failed\n", what);
        std::exit(1);
    }
}

int main(int argc, char ** argv) {
    check(argc == 6, "reading the arguments");
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level >= GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
    }, nullptr);
    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    check(model != nullptr, "loading the model");
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));

    // Everything in f32, nothing fused.
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = std::atoi(argv[2]);
    params.n_threads = params.n_threads_batch = 1;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context * context = llama_init_from_model(model, params);
    check(context != nullptr, "making a context");

    const std::vector<int> prompt = numbers(argv[4]);
    llama_batch batch = llama_batch_init(prompt.size(), 0, 1);
    for (size_t i = 0; i < prompt.size(); i++) {
        batch.token[i] = prompt[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = true;
    }
    batch.n_tokens = prompt.size();
    check(llama_decode(context, batch) == 0, "the prompt");
    for (int position : numbers(argv[5])) {
        const float * logits = llama_get_logits_ith(context, position);
        for (int i = 0; i < vocabulary; i++) {
            unsigned bits;
            std::memcpy(&bits, &logits[i], 4);
            std::printf("%08x", bits);
        }
        std::printf("\n");
    }
    const float * logits = llama_get_logits_ith(context, prompt.size() - 1);
    for (int n = std::atoi(argv[3]); n > 0; n--) {
        llama_token token = std::max_element(logits, logits + vocabulary) - logits;
        std::printf("%d%c", token, n > 1 ? ' ' : '\n');
        check(llama_decode(context, llama_batch_get_one(&token, 1)) == 0, "a token");
        logits = llama_get_logits_ith(context, -1);
    }
}
