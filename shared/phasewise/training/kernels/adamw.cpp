// Clips the gradients of a run and makes its step of AdamW; PyTorch's is in packed/updates.py.
#include <cmath>

#include "vectors.h"

namespace {

// A group of torch.optim.AdamW, as kernels/adamw.py describes it.
struct Group {
    double rate, decay, beta1, beta2, epsilon;
};

// One tensor that trains; steps without its gradient do not count.
struct Tensor {
    float *means, *squares;  // moments of the gradient
    long size, group, steps;
};

// In float over a block, in double over the blocks: a tensor may be long.
double add_squares(const float* values, long size) {
    constexpr long BLOCK = 256 * WIDTH;
    double total = 0;
    for (long start = 0; start < size; start += BLOCK) {
        const long end = start + BLOCK < size ? start + BLOCK : size;
        Floats sums[4] = {};
        long i = start;
        for (; i + 4 * WIDTH <= end; i += 4 * WIDTH)
            for (int v = 0; v < 4; v++) {
                const Floats part = load(values + i + v * WIDTH);
                sums[v] += part * part;
            }
        for (; i < end; i += WIDTH) {
            const Floats part = load_part(values + i, end - i);
            sums[0] += part * part;
        }
        total += add_up((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    return total;
}

// As torch.nn.utils.clip_grad_norm_: NaN stays NaN, and an infinite norm makes it 0.
float find_factor(const Tensor* tensors, const float* const* grads, long count, float max_norm) {
    double total = 0;
    for (long i = 0; i < count; i++)
        if (grads[i]) total += add_squares(grads[i], tensors[i].size);
    const float factor = max_norm / (float(std::sqrt(total)) + 1e-6f);
    return factor > 1.f ? 1.f : factor;
}

void step(const Tensor& tensor, const Group& group, float* __restrict values,
          const float* __restrict grads, float factor) {
    float *__restrict means = tensor.means, *__restrict squares = tensor.squares;
    const double part1 = 1 - std::pow(group.beta1, tensor.steps);
    const double part2 = 1 - std::pow(group.beta2, tensor.steps);
    const float keep = 1 - group.rate * group.decay, size = group.rate / part1;
    const float root = 1 / std::sqrt(part2), epsilon = group.epsilon;
    const float share1 = 1 - group.beta1, beta2 = group.beta2, share2 = 1 - group.beta2;
    for (long i = 0; i < tensor.size; i++) {  // the compiler makes vectors of it
        const float grad = grads[i] * factor;
        const float mean = means[i] + share1 * (grad - means[i]);
        const float square = beta2 * squares[i] + share2 * grad * grad;
        means[i] = mean;
        squares[i] = square;
        values[i] = values[i] * keep - size * mean / (std::sqrt(square) * root + epsilon);
    }
}

}  // namespace

extern "C" {

// `values` and `grads` hold an address for each tensor; a null gradient leaves a tensor as it is.
void adamw_float(Tensor* tensors, float* const* values, const float* const* grads, long count,
                 const Group* groups, float max_norm) {
    const float factor = find_factor(tensors, grads, count, max_norm);
    for (long i = 0; i < count; i++)
        if (grads[i]) {
            tensors[i].steps++;
            step(tensors[i], groups[tensors[i].group], values[i], grads[i], factor);
        }
}
}
