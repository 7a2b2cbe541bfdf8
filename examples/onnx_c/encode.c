/* Features, or class probabilities, of one window with ONNX Runtime's C API; the input of a phone app without Python.

   cc encode.c -o encode -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime
   ./encode model.onnx window.f32 6 250 features

   window.f32 contains CHANNELS x SAMPLES float32 values in the units and at the rate of export.json, channel by
   channel; NaN is a missing value. One value per line is printed. */

#include <stdio.h>
#include <stdlib.h>

#include "onnxruntime_c_api.h"

static const OrtApi *ort;

static void check(OrtStatus *status)
{
    if (status != NULL) {
        fprintf(stderr, "ONNX Runtime: %s\n", ort->GetErrorMessage(status));
        ort->ReleaseStatus(status);
        exit(1);
    }
}

static float *read_window(const char *path, size_t count)
{
    float *values = malloc(count * sizeof(float));
    FILE *file = fopen(path, "rb");
    if (values == NULL || file == NULL || fread(values, sizeof(float), count, file) != count || fgetc(file) != EOF) {
        fprintf(stderr, "%s: expected %zu float32 values\n", path, count);
        exit(1);
    }
    fclose(file);
    return values;
}

int main(int argc, char **argv)
{
    if (argc != 6 || atol(argv[3]) < 1 || atol(argv[4]) < 1) {
        fprintf(stderr, "usage: %s MODEL.onnx WINDOW.f32 CHANNELS SAMPLES features|probabilities\n", argv[0]);
        return 2;
    }
    const int64_t shape[3] = {1, atol(argv[3]), atol(argv[4])};
    const size_t count = (size_t)(shape[1] * shape[2]);
    float *window = read_window(argv[2], count);

    ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (ort == NULL) {
        fprintf(stderr, "the library is older than the header\n");
        return 1;
    }
    OrtEnv *env = NULL;
    OrtSessionOptions *options = NULL;
    OrtSession *session = NULL;
    OrtMemoryInfo *memory = NULL;
    OrtValue *input = NULL, *output = NULL;
    OrtTensorTypeAndShapeInfo *info = NULL;

    check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "imu-video", &env));
    check(ort->CreateSessionOptions(&options));
    check(ort->SetIntraOpNumThreads(options, 1));
    check(ort->CreateSession(env, argv[1], options, &session));
    check(ort->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
    check(ort->CreateTensorWithDataAsOrtValue(memory, window, count * sizeof(float), shape, 3,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));

    const char *input_names[] = {"imu"};
    const char *output_names[] = {argv[5]};
    const OrtValue *inputs[] = {input};
    check(ort->Run(session, NULL, input_names, inputs, 1, output_names, 1, &output));

    float *values = NULL;
    size_t width = 0;
    check(ort->GetTensorMutableData(output, (void **)&values));
    check(ort->GetTensorTypeAndShape(output, &info));
    check(ort->GetTensorShapeElementCount(info, &width));
    for (size_t i = 0; i < width; i++) {
        printf("%.9g\n", values[i]);
    }

    ort->ReleaseTensorTypeAndShapeInfo(info);
    ort->ReleaseValue(output);
    ort->ReleaseValue(input);
    ort->ReleaseMemoryInfo(memory);
    ort->ReleaseSession(session);
    ort->ReleaseSessionOptions(options);
    ort->ReleaseEnv(env);
    free(window);
    return 0;
}
